"""UniHash: the method is in `method`, with all its equations; the other files hold its parts."""

from ichash_export.methods.unihash.method import UniHash as UniHash
from ichash_export.methods.unihash.method import UniHashConfig as UniHashConfig
