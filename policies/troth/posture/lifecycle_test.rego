package troth.posture_test

test_update_healthy_pass if outcome("update-healthy", good) == "pass"

test_update_healthy_pass_while_it_runs if outcome("update-healthy", set_to({"/update/state": "downloading"})) == "pass"

test_update_healthy_not_applicable if outcome("update-healthy", set_to({"/update/state": ""})) == "not_applicable"

test_update_healthy_fail if {
	facts := set_to({"/update": {"state": "rolled-back", "version": "1.3.0", "error": "health check"}})
	outcome("update-healthy", facts) == "fail"
	reason("update-healthy", facts) == `The update to "1.3.0" was rolled back: "health check".`
	verdict(facts) == "noncompliant"
}

test_update_healthy_fail_without_words if {
	facts := set_to({"/update": {"state": "failure", "version": "", "error": ""}})
	reason("update-healthy", facts) == "The update to an unnamed version failed."
}

test_update_healthy_missing if outcome("update-healthy", without("/update")) == "error"

test_update_healthy_missing_meaning if outcome("update-healthy", set_to({"/update/state": "splendid"})) == "error"
