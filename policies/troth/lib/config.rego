# METADATA
# description: >-
#   What the other packages share. A setting that is missing has the default
#   that is written here; one of a wrong type has no value at all, so that
#   whatever needs it is refused. (Rego orders values of different types: a
#   number is less than any string.)
package troth.lib

# METADATA
# description: The number in config at section and key, at least zero.
setting_number(section, key, _) := value if {
	value := data.config[section][key]
	is_number(value)
	value >= 0
}

setting_number(section, key, otherwise) := otherwise if not _set(section, key)

# METADATA
# description: The boolean in config at section and key.
setting_boolean(section, key, _) := value if {
	value := data.config[section][key]
	is_boolean(value)
}

setting_boolean(section, key, otherwise) := otherwise if not _set(section, key)

# METADATA
# description: >-
#   The list of strings in config at section and key. There is no default: a
#   control that needs one does not apply where the key is not set.
setting_words(section, key) := value if {
	value := data.config[section][key]
	is_array(value)
	every word in value {
		is_string(word)
	}
}

# METADATA
# description: Whether config has the key, of whatever type.
configured(section, key) if _set(section, key)

_set(section, key) if _ = data.config[section][key]
