package crl

import (
	"fmt"
	"net/netip"
	"slices"
)

// notPublic are the ranges beyond those that netip knows which lead into a
// network of one's own, or are of no use (IANA special-purpose registries; RFC
// 6890). Those that carry an IPv4 address in an IPv6 one would lead anywhere.
func notPublic() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4",
		"168.63.129.16/32", // Azure's metadata
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// checkAddress refuses to dial what is not on the public Internet, unless it is
// in one of the allowed ranges. address is an IP address and a port.
func checkAddress(address string, allowed []netip.Prefix) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %q: it is no address", address)
	}
	ip := ap.Addr().Unmap().WithZone("")
	within := func(p netip.Prefix) bool { return p.Contains(ip) }
	if slices.ContainsFunc(allowed, within) {
		return nil
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || slices.ContainsFunc(notPublic(), within) {
		return fmt.Errorf("dial %s: it is not a public address, and the configuration does not allow it", ip)
	}
	return nil
}
