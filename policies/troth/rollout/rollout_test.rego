package troth.rollout_test

import data.troth.rollout

# 2026-03-01 is a Sunday.
good := {
	"now": "2026-03-01T12:00:00Z",
	"step": "start",
	"by": "ada",
	"rollout": {"id": "r", "model": "edge-100", "version": "1.2.0", "counter": 3, "wave": 0, "percent": [10, 100]},
	"devices": {"total": 100, "succeeded": 0, "failed": 0, "skipped": 0},
}

under(settings, changes) := answer if {
	answer := rollout.decision with input as object.union(good, changes) with data.config as {"rollout": settings}
}

test_nothing_holds_it if under({}, {}).allow == true

test_allowed_without_config if {
	answer := rollout.decision with input as good with data.config as {}
	answer.allow == true
}

test_advance_is_allowed if under({}, {"step": "advance"}).allow == true

test_hold if under({"hold": true}, {}).code == "rollouts_on_hold"

test_hold_holds_every_wave if under({"hold": true}, {"step": "advance"}).code == "rollouts_on_hold"

test_no_hold if under({"hold": false}, {}).allow == true

test_first_wave if {
	under({"max_first_wave_percent": 5}, {}).code == "first_wave_too_large"
	under({"max_first_wave_percent": 10}, {}).allow == true
}

test_later_waves_may_be_large if under({"max_first_wave_percent": 5}, {"step": "advance"}).allow == true

by_day := {"days": ["Sunday"], "from": "09:00", "to": "17:00"}

at(window, now) := under({"windows": [window]}, {"now": now})

test_inside_a_window if {
	at(by_day, "2026-03-01T09:00:00Z").allow == true
	at(by_day, "2026-03-01T16:59:59Z").allow == true
	at(object.union(by_day, {"to": "24:00"}), "2026-03-01T23:59:59Z").allow == true
}

test_outside_a_window if {
	at(by_day, "2026-03-01T08:59:59Z").code == "outside_window"
	at(by_day, "2026-03-01T17:00:00Z").code == "outside_window"
	at(by_day, "2026-03-02T12:00:00Z").code == "outside_window"
}

by_night := {"days": ["Saturday"], "from": "22:00", "to": "05:00"}

test_a_window_past_midnight if {
	at(by_night, "2026-02-28T23:00:00Z").allow == true
	at(by_night, "2026-03-01T04:59:00Z").allow == true
	at(by_night, "2026-03-01T05:00:00Z").code == "outside_window"
	at(by_night, "2026-03-01T23:00:00Z").code == "outside_window"
	at(by_night, "2026-02-28T04:00:00Z").code == "outside_window"
}

test_time_is_utc if at(by_day, "2026-03-01T18:00:00+09:00").allow == true

test_no_windows_is_never if under({"windows": []}, {}).code == "outside_window"

test_settings_that_are_none_hold if {
	every settings in [
		{"hold": "true"},
		{"hold": null},
		{"max_first_wave_percent": "5"},
		{"max_first_wave_percent": -1},
		{"max_first_wave_percent": 101},
		{"windows": {}},
		{"windows": "always"},
		{"windows": [{"days": ["Sunday"], "from": "9:00", "to": "17:00"}]},
		{"windows": [{"days": ["Sunday"], "from": "09:00"}]},
		{"windows": [{"days": ["sunday"], "from": "09:00", "to": "17:00"}]},
		{"windows": [{"days": [], "from": "09:00", "to": "17:00"}]},
		{"windows": [by_day, 3]},
	] {
		under(settings, {}).code == "rollout_misconfigured"
	}
}

test_every_bad_setting_is_named if {
	contains(under({"hold": 1, "windows": 1}, {}).reason, "hold and windows")
}

test_missing_facts if {
	answer := rollout.decision with input as {"now": "2026-03-01T12:00:00Z"} with data.config as {}
	answer.code == "rollout_facts_missing"
}

test_missing_time_is_outside if {
	answer := rollout.decision with input as object.remove(good, ["now"]) with data.config as {"rollout": {"windows": [by_day]}}
	answer.code == "outside_window"
}

test_unknown_step if under({}, {"step": "finish"}).code == "rollout_facts_missing"
