package troth.posture_test

test_clock_synchronised_pass if outcome("clock-synchronised", good) == "pass"

test_clock_synchronised_fail if outcome("clock-synchronised", host_with({"upkeep/time_synchronised": false})) == "fail"

test_clock_synchronised_missing if outcome("clock-synchronised", host_without("upkeep/time_synchronised")) == "error"

test_space_left_pass if outcome("space-left", good) == "pass"

test_space_left_fail if outcome("space-left", host_with({"upkeep/free_percent": 9})) == "fail"

test_space_left_missing if outcome("space-left", host_without("upkeep/free_percent")) == "error"

test_restarted_in_time_not_applicable if outcome("restarted-in-time", good) == "not_applicable"

test_restarted_in_time_pass if strictly("restarted-in-time", good) == "pass"

test_restarted_in_time_fail if strictly("restarted-in-time", host_with({"upkeep/uptime_days": 91})) == "fail"

test_restarted_in_time_missing if strictly("restarted-in-time", host_without("upkeep/uptime_days")) == "error"

test_restarted_in_time_missing_setting if {
	under(with_setting("upkeep", "max_uptime_days", "1"), "restarted-in-time", good).outcome == "error"
}

test_agent_current_not_applicable if outcome("agent-current", good) == "not_applicable"

test_agent_current_pass if strictly("agent-current", good) == "pass"

test_agent_current_fail if strictly("agent-current", host_with({"agent/version": "v0.9.1"})) == "fail"

test_agent_current_missing if strictly("agent-current", host_with({"agent/version": "devel"})) == "error"

test_agent_current_missing_setting if {
	under(with_setting("agent", "minimum_version", "new"), "agent-current", good).outcome == "error"
}

test_agent_unprivileged_pass if outcome("agent-unprivileged", good) == "pass"

test_agent_unprivileged_fail if outcome("agent-unprivileged", host_with({"agent/root": true})) == "fail"

test_agent_unprivileged_missing if outcome("agent-unprivileged", host_without("agent/root")) == "error"
