"""EGICH: the method is in `method`, with all its equations; the other files hold its parts."""

from ichash_export.methods.egich.method import EGICH as EGICH
from ichash_export.methods.egich.method import EGICHConfig as EGICHConfig
