"""NCH: the method is in `method`, with all its equations; the other files hold its parts."""

from ichash_export.methods.nch.method import NCH as NCH
from ichash_export.methods.nch.method import NCHConfig as NCHConfig
