package vault

// Allows is what policies together allow on a path.
func Allows(policies []string, path string) ([]string, error) {
	var rules acl
	for _, text := range policies {
		if err := rules.add(text); err != nil {
			return nil, err
		}
	}
	return rules.allows(path), nil
}
