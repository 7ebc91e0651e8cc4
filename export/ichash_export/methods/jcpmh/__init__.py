"""JCPMH: the method is in `method`, with all its equations; the other files hold its parts."""

from ichash_export.methods.jcpmh.method import JCPMH as JCPMH
from ichash_export.methods.jcpmh.method import JCPMHConfig as JCPMHConfig
