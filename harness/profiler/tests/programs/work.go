// Spends 70, 20 and 10 % of its time in three functions.
package main

import (
	"os"
	"strconv"
)

var sink uint64

//go:noinline
func workSeventy(steps uint64) uint64 {
	state := uint64(70)
	for i := uint64(0); i < steps*70; i++ {
		state = (state^(state>>29))*0xbf58476d1ce4e5b9 + 70
	}
	return state
}

//go:noinline
func workTwenty(steps uint64) uint64 {
	state := uint64(20)
	for i := uint64(0); i < steps*20; i++ {
		state = (state^(state>>29))*0xbf58476d1ce4e5b9 + 20
	}
	return state
}

//go:noinline
func workTen(steps uint64) uint64 {
	state := uint64(10)
	for i := uint64(0); i < steps*10; i++ {
		state = (state^(state>>29))*0xbf58476d1ce4e5b9 + 10
	}
	return state
}

func main() {
	rounds, _ := strconv.Atoi(os.Args[1])
	for round := 0; round < rounds; round++ {
		sink += workSeventy(1000) + workTwenty(1000) + workTen(1000)
	}
}
