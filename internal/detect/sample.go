package detect

import "slices"

// maxSamples bounds the samples of an alert.
const maxSamples = 8

// sample adds a text to a few different ones.
func sample(list []string, text string) []string {
	if len(list) >= maxSamples || slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}
