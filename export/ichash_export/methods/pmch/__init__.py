"""PMCH: the method is in `method`, with all its equations; the other files hold its parts."""

from ichash_export.methods.pmch.method import PMCH as PMCH
from ichash_export.methods.pmch.method import PMCHConfig as PMCHConfig
