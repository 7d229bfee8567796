# METADATA
# title: Rollouts
# description: >-
#   May this wave of a rollout begin? It may, unless config.rollout says otherwise:
#   hold stops every rollout; windows are the times of the week at which waves may
#   begin, in UTC; max_first_wave_percent asks for a first wave that is small enough
#   to lose. What has begun is not stopped by any of this.
#
#   A setting that is none lets no wave begin: a rollout that waits harms nobody.
package troth.rollout

import data.troth.lib

# METADATA
# title: Rollout decision
# entrypoint: true
decision := deny("rollout_misconfigured", sprintf("config.rollout.%s is not what it should be.", [lib.listed(sort(misconfigured))])) if {
	count(misconfigured) > 0
} else := deny("rollouts_on_hold", "All rollouts are on hold (config.rollout.hold).") if {
	lib.setting_boolean("rollout", "hold", false)
} else := deny("outside_window", "No wave may begin at this time (config.rollout.windows).") if {
	not in_window
} else := deny("first_wave_too_large", sprintf("The first wave has %d %% of the devices, and at most %v %% are allowed.", [
	input.rollout.percent[0],
	first_wave_limit,
])) if {
	input.step == "start"
	input.rollout.percent[0] > first_wave_limit
} else := {"allow": true, "code": "", "reason": "Nothing holds the rollout."} if {
	input.step in {"start", "advance"}
	count(input.rollout.percent) > 0
} else := deny("rollout_facts_missing", "The facts that a rollout needs are missing.")

first_wave_limit := lib.setting_number("rollout", "max_first_wave_percent", 100)

in_window if not lib.configured("rollout", "windows")

# METADATA
# description: >-
#   A window that ends before it begins goes on past midnight; its days are those on
#   which it begins.
in_window if {
	some window in windows
	window.from <= window.to
	today in window.days
	clock >= window.from
	clock < window.to
}

in_window if {
	some window in windows
	window.from > window.to
	today in window.days
	clock >= window.from
}

in_window if {
	some window in windows
	window.from > window.to
	yesterday in window.days
	clock < window.to
}

windows := data.config.rollout.windows

day := 86400 * 1000000000

today := time.weekday(lib.now)

yesterday := time.weekday(lib.now - day)

# METADATA
# description: The time of the day as windows have it, 22:30.
clock := sprintf("%02d:%02d", array.slice(time.clock(lib.now), 0, 2))

misconfigured contains "hold" if {
	lib.configured("rollout", "hold")
	not is_boolean(data.config.rollout.hold)
}

misconfigured contains "max_first_wave_percent" if {
	lib.configured("rollout", "max_first_wave_percent")
	not limit_well_formed
}

limit_well_formed if {
	is_number(data.config.rollout.max_first_wave_percent)
	data.config.rollout.max_first_wave_percent >= 0
	data.config.rollout.max_first_wave_percent <= 100
}

misconfigured contains "windows" if {
	lib.configured("rollout", "windows")
	not windows_well_formed
}

windows_well_formed if {
	is_array(windows)
	every window in windows {
		regex.match(`^([01][0-9]|2[0-3]):[0-5][0-9]$`, window.from)
		regex.match(`^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$`, window.to)
		count(window.days) > 0
		every name in window.days {
			name in {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
		}
	}
}

deny(code, reason) := {"allow": false, "code": code, "reason": reason}
