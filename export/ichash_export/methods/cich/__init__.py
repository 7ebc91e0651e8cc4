"""CICH: the method is in `method`, with all its equations; the other files hold its parts."""

from ichash_export.methods.cich.method import CICH as CICH
from ichash_export.methods.cich.method import CICHConfig as CICHConfig
