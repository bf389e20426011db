package flake

import (
	"fmt"
	"slices"
)

// DidYouMean is ` (did you mean X?)` for the candidate nearest to s, or empty
// when none is near: for other strict settings.
func DidYouMean(s string, candidates []string) string { return didYouMean(s, candidates) }

// didYouMean is ` (did you mean X?)` for the candidate nearest to s, or empty
// when none is near.
func didYouMean(s string, candidates []string) string {
	best := nearest(s, candidates)
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean `%s`?)", best)
}

// nearest is the candidate with the fewest edits from s, at most a third of its
// letters but always two; the first in order among equals; empty for none.
func nearest(s string, candidates []string) string {
	best, bestDistance := "", max(2, len(s)/3)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if max(len(s), len(c))-min(len(s), len(c)) >= bestDistance {
			continue // also keeps a key of a megabyte from costing anything
		}
		// An edit of every letter is no resemblance.
		if d := distance(s, c); d < bestDistance && d < max(len(s), len(c)) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance counts the insertions, deletions and replacements of bytes, and the
// swaps of neighbours, between a and b (optimal string alignment).
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			d[i][j] = min(replaced, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
