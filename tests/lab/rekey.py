"""New SAs for old, by hand, in the order that IKE would use: nothing is ever sealed for an SA that is not there.

    1. the gateway takes the new inbound SA beside the old one
    2. the router takes both new SAs and gives up the old one that it seals with
    3. the gateway seals with the new one
    4. what is left of the old ones goes some turns later, when nothing can be on its way any more
"""

from lab.xfrm import forget_line, state_line


class Rekeying:
    """The turns of one tunnel."""

    # A guest may have packets waiting for seconds; IKE daemons keep old SAs for five (delete_rekeyed_delay).
    KEPT = 4

    def __init__(self, lab, tunnel):
        self.lab, self.tunnel = lab, tunnel
        self.old_on_router = []  # what the gateway sealed with in the last turns

    def turn(self):
        """Replaces both SAs."""
        sas, name, router = self.lab.associations, self.tunnel.name, self.lab.routers["router"]
        old_inbound = sas.inbound[name][-1]
        inbound, outbound = sas.make(self.tunnel), sas.make(self.tunnel)
        sas.inbound[name] = [*sas.inbound[name][-self.KEPT:], inbound]
        self.lab.apply_associations()
        router.batch(self._forgotten(self.KEPT) + [state_line(outbound, "router"), state_line(inbound, "gateway"),
                                                   forget_line(old_inbound, "gateway")])
        self.old_on_router.append(sas.outbound[name])
        sas.outbound[name] = outbound
        self.lab.apply_associations()

    def _forgotten(self, kept):
        old, self.old_on_router = self.old_on_router, self.old_on_router[-kept:] if kept else []
        return [forget_line(sa, "router") for sa in old if sa not in self.old_on_router]

    def finish(self):
        """Removes what the last turns left; nothing may be on its way any more."""
        sas, name = self.lab.associations, self.tunnel.name
        sas.inbound[name] = sas.inbound[name][-1:]
        self.lab.apply_associations()
        self.lab.routers["router"].batch(self._forgotten(0))


def replace(lab, tunnel, more="", limits=None):
    """New SAs at once, for a tunnel at rest; `more` is said of the router's sealing SA, `limits` of the gateway's."""
    sas, name = lab.associations, tunnel.name
    lines = [forget_line(sa, "gateway") for sa in sas.inbound[name]] + [forget_line(sas.outbound[name], "router")]
    sas.add(tunnel)
    sas.outbound[name].limits = limits or {}
    lines += [state_line(sas.outbound[name], "router"), state_line(sas.inbound[name][0], "gateway", more=more)]
    lab.routers["router"].batch(lines)
    lab.apply_associations()
