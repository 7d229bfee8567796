package troth.lib

# METADATA
# description: >-
#   How long the certificate of input.device lives, as the part of a decision that
#   says so: the shortest of the lifetimes that config.certificates.lifetime_seconds
#   gives to its model (models) and its labels (labels, each written key=value), or
#   else the one for all (default), or else nothing, which leaves it to the service.
certificate_lifetime := {"certificate_lifetime_seconds": min(_group_lifetimes)} if {
	count(_group_lifetimes) > 0
} else := {"certificate_lifetime_seconds": _lifetimes.default} if {
	_lifetimes.default
} else := {}

# METADATA
# description: >-
#   A lifetime in config is not a whole number of seconds, at least 60. No
#   certificate is issued by a setting that says nothing.
lifetimes_misconfigured if {
	some group, value in _lifetimes
	not _lifetime_setting(group, value)
}

lifetimes_misconfigured if {
	_set("certificates", "lifetime_seconds")
	not is_object(data.config.certificates.lifetime_seconds)
}

_lifetime_setting("default", value) if _lifetime(value)

_lifetime_setting(group, value) if {
	group in {"models", "labels"}
	is_object(value)
	every seconds in value {
		_lifetime(seconds)
	}
}

_lifetime(seconds) if {
	is_number(seconds)
	seconds >= 60
	seconds == round(seconds)
}

_lifetimes := data.config.certificates.lifetime_seconds

_group_lifetimes contains _lifetimes.models[input.device.model]

_group_lifetimes contains seconds if {
	some key, value in input.device.labels
	seconds := _lifetimes.labels[concat("=", [key, value])]
}
