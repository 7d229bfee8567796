package troth.lib

# METADATA
# description: >-
#   The parameters of a kernel command line in order, as the kernel names them: it
#   takes a dash in a name for an underscore (Linux, kernel/params.c, parameq).
parameters(text) := [parameter(word) |
	some word in regex.split(`[ \t\n\v\f\r]+`, text)
	word != ""
]

# METADATA
# description: One parameter, with its name as the kernel compares it.
parameter(word) := concat("=", array.concat(
	[replace(parts[0], "-", "_")],
	array.slice(parts, 1, count(parts)),
)) if {
	parts := split(word, "=")
}

# METADATA
# description: >-
#   The parameters that certainly count: those that have no quotation marks and
#   stand before a "--", after which all is for init (Linux, lib/cmdline.c,
#   next_arg).
effective_parameters(text) := [word |
	some i, word in unquoted
	not contains(word, "\"")
	every j in ends {
		i < j
	}
] if {
	unquoted := parameters(regex.replace(text, `"[^"]*("|$)`, "\"\""))
	ends := [j | unquoted[j] == "__"]
}

# METADATA
# description: >-
#   Every parameter that may count. Quotation marks are dropped wherever they
#   stand, and words end also at what may have been a space in another encoding.
possible_parameters(text) := {parameter(word) |
	some word in regex.split(`[ \t\n\v\f\r\x{a0}\x{fffd}]+`, replace(text, "\"", ""))
	word != ""
}

# METADATA
# description: >-
#   Whether a parameter is the one that a rule names: all of it, or for a rule
#   that ends in = its name.
parameter_matches(rule, word) if parameter(rule) == word

parameter_matches(rule, word) if {
	endswith(rule, "=")
	startswith(word, parameter(rule))
}
