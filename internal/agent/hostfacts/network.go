package hostfacts

import (
	"slices"

	"troth/internal/api"
)

// network is what takes effect on the weakest interface.
func (h Host) network() api.NetworkFacts {
	n := api.NetworkFacts{SYNCookies: h.number("proc/sys/net/ipv4/tcp_syncookies")}
	v4 := h.number("proc/sys/net/ipv4/ip_forward")
	n.Forwards = either(v4, h.ipv6("all", "forwarding"), func(v int) bool { return v != 0 })
	interfaces, err := h.list("proc/sys/net/ipv4/conf")
	all, ok := h.packets("all")
	if err != nil || !ok || v4 == nil {
		return n
	}
	weakest, redirected, routed, considered := 2, false, false, false
	for _, name := range interfaces {
		if name == "all" || name == "lo" || name == "default" && len(interfaces) > 3 {
			continue // what new interfaces get counts where there is no other
		}
		one, ok := h.packets(name)
		if !ok {
			return n
		}
		considered = true
		weakest = min(weakest, strength(max(all.filter, one.filter)))
		redirected = redirected || one.redirected(all, *v4 != 0)
		routed = routed || all.routes && one.routes
	}
	if !considered {
		return n
	}
	value := []int{0, 2, 1}[weakest]
	n.ReversePath, n.AcceptsSourceRoutes = &value, &routed
	if six := h.redirects6(); six != nil {
		redirected = redirected || *six
		n.AcceptsRedirects = &redirected
	}
	return n
}

// packets is how IPv4 packets are treated on an interface, or on all.
type packets struct {
	filter            int
	redirects, routes bool
}

func (h Host) packets(name string) (p packets, ok bool) {
	dir := "proc/sys/net/ipv4/conf/" + name
	filter, redirects, routes := h.number(dir+"/rp_filter"), h.number(dir+"/accept_redirects"), h.number(dir+"/accept_source_route")
	if filter == nil || redirects == nil || routes == nil {
		return p, false
	}
	return packets{*filter, *redirects != 0, *routes != 0}, true
}

// redirected reports whether redirects are taken: a router asks the interface and
// the value for all, a host either of them.
func (p packets) redirected(all packets, router bool) bool {
	if router {
		return all.redirects && p.redirects
	}
	return all.redirects || p.redirects
}

// strength orders what rp_filter can be: off, loose (2), strict (1).
func strength(filter int) int {
	switch filter {
	case 1:
		return 2
	case 2:
		return 1
	default:
		return 0
	}
}

// redirects6 asks each interface: IPv6 has no value for all that counts.
func (h Host) redirects6() *bool {
	accepts := false
	if h.missing("proc/sys/net/ipv6") {
		return &accepts
	}
	interfaces, err := h.list("proc/sys/net/ipv6/conf")
	if err != nil {
		return nil
	}
	for _, name := range interfaces {
		if slices.Contains([]string{"all", "lo", "default"}, name) {
			continue
		}
		value := h.ipv6(name, "accept_redirects")
		if value == nil {
			return nil
		}
		accepts = accepts || *value != 0
	}
	return &accepts
}

// ipv6 is a setting of an interface; without IPv6 it is off.
func (h Host) ipv6(name, key string) *int {
	if h.missing("proc/sys/net/ipv6") {
		return new(int)
	}
	return h.number("proc/sys/net/ipv6/conf/" + name + "/" + key)
}

// either is whether one of two values is as asked; nil where that is not known.
func either(a, b *int, is func(int) bool) *bool {
	if a != nil && is(*a) || b != nil && is(*b) {
		yes := true
		return &yes
	}
	if a == nil || b == nil {
		return nil
	}
	return new(bool)
}
