package flake

import (
	"fmt"
	"slices"
)

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
		// An edit of every letter is no resemblance.
		if d := distance(s, c); d < bestDistance && d < max(len(s), len(c)) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance counts the insertions, deletions and replacements of bytes between a
// and b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
