package troth.operator_test

import data.troth.operator

decision(role, action) := value if value := operator.decision with input as {"operator": "ada", "role": role, "action": action, "resource": ""}

allowed(role, action) if {
	d := decision(role, action)
	d.allow == true
	d.code == ""
}

denied(role, action, code) if {
	d := decision(role, action)
	d.allow == false
	d.code == code
}

test_admin_may_do_everything if {
	every action in ["device.list", "token.create", "operator.delete", "policy.activate", "waiver.approve"] {
		allowed("admin", action)
	}
}

test_viewer_reads if {
	every action in ["device.list", "device.get", "alert.list", "rollout.get", "policy.get", "report.list"] {
		allowed("viewer", action)
	}
	every action in ["device.retire", "report.create", "token.list", "operator.list", "audit.list"] {
		denied("viewer", action, "role_insufficient")
	}
}

test_auditor_reads_and_reports if {
	every action in ["device.list", "report.create", "report.get", "audit.list", "audit.export"] {
		allowed("auditor", action)
	}
	every action in ["device.quarantine", "alert.acknowledge", "token.list", "audit.delete", "policy.preview", "policy.push", "policy.approve"] {
		denied("auditor", action, "role_insufficient")
	}
}

test_operator_acts_on_the_fleet if {
	every action in [
		"device.quarantine", "device.release", "registration.create", "alert.acknowledge",
		"rollout.start", "firmware.publish", "policy.preview", "waiver.request", "report.create",
		"policy.push", "policy.rollback", "policy.reject", "policy.shadow",
	] {
		allowed("operator", action)
	}
	every action in ["policy.activate", "policy.approve", "waiver.approve", "token.create", "operator.list"] {
		denied("operator", action, "role_insufficient")
	}
}

test_security_answers_for_policies if {
	every action in [
		"policy.test", "policy.preview", "policy.push", "policy.approve", "policy.activate", "policy.rollback",
		"policy.reject", "policy.shadow", "device.quarantine", "device.release", "alert.acknowledge",
		"evidence.get", "decision.get", "device.list", "report.compliance", "audit.list",
	] {
		allowed("security", action)
	}
	every action in [
		"token.create", "operator.list", "firmware.publish", "rollout.start", "rollout.create", "device.retire",
		"device.revoke", "device.register", "manufacturer.add", "ca.begin", "waiver.approve", "policy.delete",
		"vuln.import", "access.decide",
	] {
		denied("security", action, "role_insufficient")
	}
}

test_proxy_asks_and_nothing_else if {
	every action in ["access.decide", "device.result"] {
		allowed("proxy", action)
	}
	every action in ["device.list", "device.get", "device.quarantine", "device.results", "device.evidence", "result.list", "report.list", "token.create", "access.grant"] {
		denied("proxy", action, "role_insufficient")
	}
}

scoped(role, action, device) := value if {
	value := operator.decision with input as {
		"operator": "ada", "role": role, "action": action, "resource": "",
		"scope": {"site": "lyon", "line": "3"}, "device": device,
	}
}

nowhere := {"id": "", "labels": {}}

inside := {"id": "d1", "labels": {"site": "lyon", "line": "3", "floor": "2"}}

test_scope_holds_devices_that_have_all_its_labels if {
	scoped("admin", "device.retire", inside).allow
	scoped("operator", "device.quarantine", inside).allow
	scoped("viewer", "evidence.get", inside).allow
	scoped("proxy", "access.decide", inside).allow
	every labels in [{}, {"site": "lyon"}, {"site": "oslo", "line": "3"}, {"site": "LYON", "line": "3"}] {
		scoped("admin", "device.retire", {"id": "d2", "labels": labels}).code == "out_of_scope"
		scoped("proxy", "access.decide", {"id": "d2", "labels": labels}).code == "out_of_scope"
	}
}

test_scope_leaves_reads_that_name_no_device if {
	every action in ["device.list", "firmware.list", "access.decide"] {
		scoped("admin", action, nowhere).allow
	}
	every action in [
		"device.get", "device.register", "token.create", "rollout.list", "rollout.create", "policy.get", "policy.activate",
		"ca.get", "manufacturer.add", "report.compliance", "alert.list", "alert.acknowledge", "event.list", "vuln.list",
		"firmware.publish", "decision.list",
	] {
		scoped("admin", action, nowhere).code == "out_of_scope"
	}
}

test_scope_adds_nothing_to_a_role if {
	scoped("viewer", "device.retire", inside).code == "role_insufficient"
	scoped("viewer", "device.retire", nowhere).code == "role_insufficient"
	scoped("root", "device.list", inside).code == "role_unknown"
}

test_an_empty_scope_is_the_fleet if {
	d := operator.decision with input as {"operator": "ada", "role": "admin", "action": "token.create", "scope": {}, "device": nowhere}
	d.allow
}

test_a_scope_that_is_none_is_denied if {
	every scope in [null, "site=lyon", 5, ["site"], [], true] {
		d := operator.decision with input as {"operator": "ada", "role": "admin", "action": "device.get", "scope": scope, "device": nowhere}
		d.code == "out_of_scope"
	}
}

test_unknown_role_is_denied if {
	denied("root", "device.list", "role_unknown")
	denied("", "device.list", "role_unknown")
}

test_malformed_action_is_denied_even_to_an_admin if {
	every action in ["", "device", "device.list.all", "Device.list", ".list", "device.*"] {
		denied("admin", action, "action_malformed")
	}
}

test_nobody_is_denied if {
	d := operator.decision with input as {"operator": "", "role": "admin", "action": "device.list", "resource": ""}
	d.code == "operator_unknown"
}

test_missing_facts_are_denied if {
	d := operator.decision with input as {}
	d.allow == false
}
