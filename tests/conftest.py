import os

from tests.helpers.ssh_fixtures import ssh_bed, ssh_either, ssh_node

__all__ = ["ssh_bed", "ssh_either", "ssh_node"]
# A colour switch of the developer's shell would change every screen snapshot.
os.environ.pop("NO_COLOR", None)
