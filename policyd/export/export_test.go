package export

import "math/rand/v2"

// Random returns any protocol.
func (Protocol) Random(rng *rand.Rand) Protocol {
	all := Protocol("").Allowed()
	return Protocol(all[rng.IntN(len(all))])
}
