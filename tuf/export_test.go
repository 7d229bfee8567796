package tuf

// FailAfterStep makes the repository stop with an error after the durable step
// for which f returns one, as a crash there would.
func (r *Repository) FailAfterStep(f func(path string) error) { r.afterStep = f }
