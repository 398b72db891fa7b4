//go:build !race

package t

const raceEnabled = false
