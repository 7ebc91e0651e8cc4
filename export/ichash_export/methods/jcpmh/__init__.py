"""JCPMH: `method` has the equations and the class; the other files hold its parts."""
