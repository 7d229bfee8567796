# What others on the network can reach, and what packets can do. In the device's own
# words; a scan from outside says the same of what a firewall lets through.
package troth.posture

import data.troth.lib

# METADATA
# description: The sockets that others can reach, as tcp/22.
listeners := {sprintf("%s/%d", [socket.protocol, socket.port]) | some socket in input.host.sockets.listening} if {
	input.host.sockets.known == true
	input.host.sockets.cut == false
}

# METADATA
# title: No unlisted listeners
# description: >-
#   Only the ports in config.network.listeners are open to others (each tcp/PORT
#   or udp/PORT; an empty list allows none).
# scope: rule
# custom:
#   id: listeners-listed
#   theme: network exposure
#   severity: medium
#   grace: 24h
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["CR 7.7"]
#     ETSI EN 303 645: ["5.6-1", "5.6-5"]
#     NISTIR 8259A: ["Logical Access to Interfaces"]
#     NIST SP 800-213A: ["Logical Access to Interfaces"]
controls contains lib.control(rego.metadata.rule(), listeners_listed)

listeners_listed := {"outcome": "not_applicable", "reason": "No ports are listed (config.network.listeners)."} if {
	not lib.configured("network", "listeners")
} else := lib.undecided("The setting config.network.listeners cannot be used.") if {
	not lib.setting_words("network", "listeners")
} else := lib.fail(sprintf("The device reports that it listens on %s, which is not listed.", [lib.listed(sort(unlisted))])) if {
	count(unlisted) > 0
} else := {"outcome": "pass", "reason": "The device reports that it listens on listed ports only."} if {
	proven
	count(unlisted) == 0
} else := unreported

unlisted := listeners - {port | some port in lib.setting_words("network", "listeners")}

# METADATA
# title: No services in clear text
# description: >-
#   No service is open that takes passwords or files in clear text: FTP, Telnet,
#   TFTP, rexec, rlogin, rsh.
# scope: rule
# custom:
#   id: cleartext-services-off
#   theme: network exposure
#   severity: high
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(d)", "Annex I Part I (2)(e)", "Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["CR 4.1", "CR 7.7"]
#     ETSI EN 303 645: ["5.5-1", "5.6-1", "5.6-5"]
#     NISTIR 8259A: ["Logical Access to Interfaces", "Data Protection"]
#     NIST SP 800-213A: ["Logical Access to Interfaces", "Data Protection"]
controls contains lib.control(rego.metadata.rule(), cleartext_services_off)

cleartext_services_off := {"outcome": "pass", "reason": "The device reports no open service that works in clear text."} if {
	proven
	count(listeners & cleartext_ports) == 0
} else := lib.fail(sprintf("The device reports open services in clear text: %s.", [lib.listed(sort(listeners & cleartext_ports))])) if {
	count(listeners & cleartext_ports) > 0
} else := unreported

cleartext_ports := {"tcp/21", "tcp/23", "tcp/512", "tcp/513", "tcp/514", "udp/69"}

# METADATA
# title: No debug services
# description: >-
#   No debugger or unauthenticated control port is open: ADB, the Docker API
#   without TLS, gdbserver, JDWP, the Node.js inspector.
# scope: rule
# custom:
#   id: debug-services-off
#   theme: network exposure
#   severity: high
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(d)", "Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["CR 7.7", "EDR 2.13"]
#     ETSI EN 303 645: ["5.5-4", "5.6-1"]
#     NISTIR 8259A: ["Logical Access to Interfaces"]
#     NIST SP 800-213A: ["Logical Access to Interfaces"]
controls contains lib.control(rego.metadata.rule(), debug_services_off)

debug_services_off := {"outcome": "pass", "reason": "The device reports no open debug service."} if {
	proven
	count(listeners & debug_ports) == 0
} else := lib.fail(sprintf("The device reports open debug services: %s.", [lib.listed(sort(listeners & debug_ports))])) if {
	count(listeners & debug_ports) > 0
} else := unreported

debug_ports := {"tcp/2159", "tcp/2345", "tcp/2375", "tcp/5005", "tcp/5555", "tcp/9229"}

# METADATA
# title: Data services stay local
# description: >-
#   Databases and caches are not open to others: MySQL, PostgreSQL, Redis,
#   MongoDB, Elasticsearch, Memcached, etcd.
# scope: rule
# custom:
#   id: data-services-local
#   theme: network exposure
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(d)", "Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["CR 7.7"]
#     ETSI EN 303 645: ["5.6-1"]
#     NISTIR 8259A: ["Logical Access to Interfaces"]
#     NIST SP 800-213A: ["Logical Access to Interfaces"]
controls contains lib.control(rego.metadata.rule(), data_services_local)

data_services_local := {"outcome": "pass", "reason": "The device reports no open database or cache."} if {
	proven
	count(listeners & data_ports) == 0
} else := lib.fail(sprintf("The device reports databases or caches that are open to others: %s.", [lib.listed(sort(listeners & data_ports))])) if {
	count(listeners & data_ports) > 0
} else := unreported

data_ports := {"tcp/11211", "tcp/2379", "tcp/27017", "tcp/3306", "tcp/5432", "tcp/6379", "tcp/9200", "udp/11211"}

# METADATA
# title: No packets forwarded
# description: >-
#   The device forwards no packets between networks, unless its model is one of
#   config.network.routers.
# scope: rule
# custom:
#   id: forwarding-off
#   theme: network exposure
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(i)", "Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["CR 5.1", "CR 7.6"]
#     NISTIR 8259A: ["Device Configuration"]
#     NIST SP 800-213A: ["Device Configuration"]
controls contains lib.control(rego.metadata.rule(), forwarding_off)

forwarding_off := {"outcome": "not_applicable", "reason": "The model is a router (config.network.routers)."} if {
	input.device.model in lib.setting_words("network", "routers")
} else := {"outcome": "pass", "reason": "The device reports that it forwards no packets."} if {
	proven
	input.host.network.forwards == false
} else := {"outcome": "fail", "reason": "The device reports that it forwards packets between networks."} if {
	input.host.network.forwards == true
} else := unreported

# METADATA
# title: Forged source addresses dropped
# description: >-
#   Packets whose source could not be answered on the interface that they came by
#   are dropped (rp_filter is 1 or 2 on every interface).
# scope: rule
# custom:
#   id: reverse-path-filtered
#   theme: network exposure
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(h)"]
#     IEC 62443-4-2: ["CR 7.1", "CR 7.6"]
#     NIST SP 800-213A: ["Device Configuration"]
controls contains lib.control(rego.metadata.rule(), reverse_path_filtered)

reverse_path_filtered := {"outcome": "pass", "reason": "The device reports that packets with a forged source are dropped."} if {
	proven
	input.host.network.reverse_path in {1, 2}
} else := {"outcome": "fail", "reason": "The device reports an interface that takes packets with a forged source (rp_filter is 0)."} if {
	input.host.network.reverse_path == 0
} else := unreported

# METADATA
# title: Redirects refused
# description: >-
#   No ICMP redirect changes the device's routes, on any interface.
# scope: rule
# custom:
#   id: redirects-refused
#   theme: network exposure
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["CR 7.6"]
#     NIST SP 800-213A: ["Device Configuration"]
controls contains lib.control(rego.metadata.rule(), redirects_refused)

redirects_refused := {"outcome": "pass", "reason": "The device reports that it refuses ICMP redirects."} if {
	proven
	input.host.network.accepts_redirects == false
} else := {"outcome": "fail", "reason": "The device reports an interface that takes ICMP redirects."} if {
	input.host.network.accepts_redirects == true
} else := unreported

# METADATA
# title: Source routes refused
# description: >-
#   No packet chooses its own way through the device, on any interface.
# scope: rule
# custom:
#   id: source-routes-refused
#   theme: network exposure
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["CR 7.6"]
#     NIST SP 800-213A: ["Device Configuration"]
controls contains lib.control(rego.metadata.rule(), source_routes_refused)

source_routes_refused := {"outcome": "pass", "reason": "The device reports that it refuses source routes."} if {
	proven
	input.host.network.accepts_source_routes == false
} else := {"outcome": "fail", "reason": "The device reports an interface that takes source routes."} if {
	input.host.network.accepts_source_routes == true
} else := unreported

# METADATA
# title: SYN floods withstood
# description: >-
#   The kernel answers a flood of connection requests with SYN cookies
#   (net.ipv4.tcp_syncookies).
# scope: rule
# custom:
#   id: syn-cookies-on
#   theme: network exposure
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(h)"]
#     IEC 62443-4-2: ["CR 7.1"]
#     NIST SP 800-213A: ["Device Configuration"]
controls contains lib.control(rego.metadata.rule(), syn_cookies_on)

syn_cookies_on := {"outcome": "pass", "reason": "The device reports that it uses SYN cookies."} if {
	proven
	input.host.network.syn_cookies in {1, 2}
} else := {"outcome": "fail", "reason": "The device reports that it uses no SYN cookies."} if {
	input.host.network.syn_cookies == 0
} else := unreported
