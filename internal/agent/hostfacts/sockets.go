package hostfacts

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"troth/internal/api"
)

// The states of a socket that waits for others (Linux, include/net/tcp_states.h).
const (
	tcpListen = "0A"
	tcpClosed = "07" // a UDP socket without a peer
)

// sockets are the listening ones. A system without IPv6 has no files for it.
func (h Host) sockets() api.SocketsFacts {
	s := api.SocketsFacts{Known: true, Listening: []api.SocketFact{}}
	low, high := h.ephemeral()
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := h.text("proc/net/" + table)
		if err != nil && strings.HasSuffix(table, "6") && h.missing("proc/net/"+table) {
			continue
		}
		listening, ok := parseSockets(text, strings.TrimSuffix(table, "6"))
		if err != nil || !ok {
			return api.SocketsFacts{Listening: []api.SocketFact{}}
		}
		for _, l := range listening {
			// A client's own UDP port comes and goes, and nobody else reaches the
			// loopback interface.
			if l.Scope != "loopback" && (l.Protocol != "udp" || l.Port < low || l.Port > high) {
				s.Listening = append(s.Listening, l)
			}
		}
	}
	slices.SortFunc(s.Listening, func(a, b api.SocketFact) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Scope, b.Scope))
	})
	s.Listening = slices.Compact(s.Listening)
	if len(s.Listening) > maxSockets {
		s.Listening, s.Cut = s.Listening[:maxSockets], true
	}
	return s
}

// ephemeral is the range of ports that the kernel hands out.
func (h Host) ephemeral() (low, high int) {
	text, err := h.text("proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 1, 0 // none
	}
	if f := strings.Fields(text); len(f) == 2 {
		low, errLow := strconv.Atoi(f[0])
		high, errHigh := strconv.Atoi(f[1])
		if errLow == nil && errHigh == nil {
			return low, high
		}
	}
	return 1, 0
}

// parseSockets reads a table of /proc/net (Documentation/networking/proc_net_tcp).
// A table with a line that it cannot read is not known.
func parseSockets(text, protocol string) (listening []api.SocketFact, ok bool) {
	first := true
	for line := range strings.Lines(text) {
		if first { // the heads of the columns
			first = false
			continue
		}
		f := strings.Fields(line)
		if len(f) < 4 {
			return nil, false
		}
		address, port, ok := parseAddress(f[1])
		peer, peerPort, peerOK := parseAddress(f[2])
		if !ok || !peerOK {
			return nil, false
		}
		waits := protocol == "tcp" && f[3] == tcpListen || protocol == "udp" && f[3] == tcpClosed && peerPort == 0 && peer.IsUnspecified()
		if waits {
			listening = append(listening, api.SocketFact{Protocol: protocol, Port: port, Scope: scopeOf(address)})
		}
	}
	return listening, !first
}

// parseAddress reads an address as the kernel prints it: words of 32 bits in the
// machine's byte order, a colon, the port.
func parseAddress(text string) (netip.Addr, int, bool) {
	address, port, found := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	number, portErr := strconv.ParseUint(port, 16, 16)
	if !found || err != nil || portErr != nil || len(raw)%4 != 0 {
		return netip.Addr{}, 0, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	a, ok := netip.AddrFromSlice(raw)
	return a.Unmap(), int(number), ok
}

func scopeOf(a netip.Addr) string {
	switch {
	case a.IsLoopback():
		return "loopback"
	case a.IsUnspecified():
		return "any"
	case a.IsLinkLocalUnicast(), a.IsLinkLocalMulticast():
		return "link"
	default:
		return "address"
	}
}

func sortedOnce(words []string) []string {
	slices.Sort(words)
	return names(slices.Compact(words))
}
