package troth.lib

# METADATA
# description: >-
#   What is measured into each PCR: TCG PC Client Platform Firmware Profile,
#   section 3.3.4, for 0 to 7; the Linux TPM PCR registry of the UAPI group for
#   the others.
pcr_holds := {
	0: "firmware",
	1: "firmware configuration",
	2: "option ROMs",
	3: "option ROM configuration",
	4: "boot loader",
	5: "boot loader configuration",
	6: "platform manufacturer",
	7: "Secure Boot policy",
	8: "command line",
	9: "kernel",
	10: "IMA",
	11: "unified kernel image",
	12: "kernel parameters",
	13: "system extensions",
	14: "shim's keys",
	15: "system identity",
}

# METADATA
# description: "One PCR for people: PCR 4 (boot loader)."
pcr(index) := sprintf("PCR %d (%s)", [index, pcr_holds[index]]) if pcr_holds[index]

else := sprintf("PCR %d", [index])

# METADATA
# description: Some PCRs for people, in order.
pcrs(indexes) := listed([pcr(i) | some i in sort(indexes)])

# METADATA
# description: "Words in a sentence: a; a and b; a, b and c."
listed(words) := concat("", words) if count(words) < 2

listed(words) := sprintf("%s and %s", [
	concat(", ", array.slice(words, 0, count(words) - 1)),
	words[count(words) - 1],
]) if {
	count(words) > 1
}

# METADATA
# description: A noun with its number.
counted(1, one, _) := sprintf("1 %s", [one])

counted(n, _, many) := sprintf("%d %s", [n, many]) if n != 1

# METADATA
# description: >-
#   Words of a device in quotation marks, cut short. They are hostile text;
#   whoever shows a reason escapes it for the place where it is shown.
quoted(text) := sprintf("%q", [substring(text, 0, 64)])
