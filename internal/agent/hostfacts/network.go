package hostfacts

import (
	"slices"

	"troth/internal/api"
)

// network is what takes effect on the weakest interface.
func (h Host) network() api.NetworkFacts {
	n := api.NetworkFacts{SYNCookies: h.number("proc/sys/net/ipv4/tcp_syncookies")}
	v4, v6 := h.number("proc/sys/net/ipv4/ip_forward"), h.ipv6("all", "forwarding")
	n.Forwards = either(v4, v6, func(v int) bool { return v != 0 })
	interfaces, err := h.list("proc/sys/net/ipv4/conf")
	all := func(key string) *int { return h.number("proc/sys/net/ipv4/conf/all/" + key) }
	path, redirects, routes := all("rp_filter"), all("accept_redirects"), all("accept_source_route")
	if err != nil || path == nil || redirects == nil || routes == nil || v4 == nil {
		return n
	}
	weakest, redirected, routed := 2, false, false
	considered := false
	for _, name := range interfaces {
		if name == "all" || name == "lo" || name == "default" && len(interfaces) > 3 {
			continue // what new interfaces get counts where there is no other
		}
		one := func(key string) *int { return h.number("proc/sys/net/ipv4/conf/" + name + "/" + key) }
		p, r, s := one("rp_filter"), one("accept_redirects"), one("accept_source_route")
		if p == nil || r == nil || s == nil {
			return n
		}
		considered = true
		weakest = min(weakest, strength(max(*path, *p)))
		// A router asks both, a host either of them.
		if *v4 != 0 {
			redirected = redirected || *redirects != 0 && *r != 0
		} else {
			redirected = redirected || *redirects != 0 || *r != 0
		}
		routed = routed || *routes != 0 && *s != 0
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
