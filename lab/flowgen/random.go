package flowgen

import "math"

// random is SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same for ever, which math/rand does not
// promise of its distributions.
type random struct{ state uint64 }

func newRandom(seed uint64) random { return random{seed} }

func (r *random) bits() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// unit returns a number in [0, 1).
func (r *random) unit() float64 { return float64(r.bits()>>11) / (1 << 53) }

// below returns a number in [0, n), n at least 1; the bias of 2^-32 n does not matter here.
func (r *random) below(n int) int { return int(r.bits() >> 32 * uint64(n) >> 32) }

// rank returns a number in [0, n) by Zipf's law with exponent 1: rank k comes about 1/(k+1) as often as rank 0.
func (r *random) rank(n int) int {
	return min(int(math.Pow(float64(n+1), r.unit()))-1, n-1)
}

// normal returns a number of the standard normal distribution (Box and Muller).
func (r *random) normal() float64 {
	return math.Sqrt(-2*math.Log(1-r.unit())) * math.Cos(2*math.Pi*r.unit())
}

// exponential returns a number of the exponential distribution of mean 1.
func (r *random) exponential() float64 { return -math.Log(1 - r.unit()) }
