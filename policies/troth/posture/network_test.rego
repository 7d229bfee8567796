package troth.posture_test

test_listeners_listed_not_applicable if outcome("listeners-listed", good) == "not_applicable"

test_listeners_listed_pass if strictly("listeners-listed", good) == "pass"

test_listeners_listed_fail if strictly("listeners-listed", listening("tcp", 8080)) == "fail"

test_listeners_listed_missing if strictly("listeners-listed", host_with({"sockets/cut": true})) == "error"

test_listeners_listed_missing_setting if {
	under(with_setting("network", "listeners", "tcp/22"), "listeners-listed", good).outcome == "error"
}

test_cleartext_services_off_pass if outcome("cleartext-services-off", good) == "pass"

test_cleartext_services_off_fail if outcome("cleartext-services-off", listening("tcp", 23)) == "fail"

test_cleartext_services_off_missing if outcome("cleartext-services-off", host_with({"sockets/known": false})) == "error"

test_debug_services_off_pass if outcome("debug-services-off", good) == "pass"

test_debug_services_off_fail if outcome("debug-services-off", listening("tcp", 5555)) == "fail"

test_debug_services_off_missing if outcome("debug-services-off", host_with({"sockets/known": false})) == "error"

test_data_services_local_pass if outcome("data-services-local", good) == "pass"

test_data_services_local_fail if outcome("data-services-local", listening("tcp", 6379)) == "fail"

test_data_services_local_missing if outcome("data-services-local", host_with({"sockets/known": false})) == "error"

test_forwarding_off_pass if outcome("forwarding-off", good) == "pass"

test_forwarding_off_fail if outcome("forwarding-off", host_with({"network/forwards": true})) == "fail"

test_forwarding_off_missing if outcome("forwarding-off", host_without("network/forwards")) == "error"

test_forwarding_off_not_applicable if {
	under(with_setting("network", "routers", ["gw-100"]), "forwarding-off", good).outcome == "not_applicable"
}

test_reverse_path_filtered_pass if outcome("reverse-path-filtered", good) == "pass"

test_reverse_path_filtered_fail if outcome("reverse-path-filtered", host_with({"network/reverse_path": 0})) == "fail"

test_reverse_path_filtered_missing if outcome("reverse-path-filtered", host_without("network/reverse_path")) == "error"

test_reverse_path_filtered_pass_2 if outcome("reverse-path-filtered", host_with({"network/reverse_path": 2})) == "pass"

test_redirects_refused_pass if outcome("redirects-refused", good) == "pass"

test_redirects_refused_fail if outcome("redirects-refused", host_with({"network/accepts_redirects": true})) == "fail"

test_redirects_refused_missing if outcome("redirects-refused", host_without("network/accepts_redirects")) == "error"

test_source_routes_refused_pass if outcome("source-routes-refused", good) == "pass"

test_source_routes_refused_fail if outcome("source-routes-refused", host_with({"network/accepts_source_routes": true})) == "fail"

test_source_routes_refused_missing if outcome("source-routes-refused", host_without("network/accepts_source_routes")) == "error"

test_syn_cookies_on_pass if outcome("syn-cookies-on", good) == "pass"

test_syn_cookies_on_fail if outcome("syn-cookies-on", host_with({"network/syn_cookies": 0})) == "fail"

test_syn_cookies_on_missing if outcome("syn-cookies-on", host_without("network/syn_cookies")) == "error"

test_syn_cookies_on_pass_2 if outcome("syn-cookies-on", host_with({"network/syn_cookies": 2})) == "pass"
