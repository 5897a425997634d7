# Reads the output of go test -bench and prints, for each benchmark with implementations (…/impl=weir beside
# …/impl=<peer>), how many times weir's time each peer takes. Several runs of one benchmark count by their median.

/^Benchmark.*\/impl=/ {
	name = $1
	sub(/-[0-9]+$/, "", name)
	match(name, /\/impl=[^\/]*/)
	impl = substr(name, RSTART + 6, RLENGTH - 6)
	name = substr(name, 10, RSTART - 10) substr(name, RSTART + RLENGTH)
	if (!(name in seen)) { seen[name] = 1; order[++names] = name }
	if (impl != "weir" && !((name, impl) in peer)) { peer[name, impl] = 1; peers[name] = peers[name] " " impl }
	runs[name, impl, ++count[name, impl]] = $3
}

END {
	for (i = 1; i <= names; i++) {
		name = order[i]
		ours = median(name, "weir")
		if (ours == 0) continue
		n = split(peers[name], list, " ")
		for (j = 1; j <= n; j++) {
			theirs = median(name, list[j])
			printf "  %-44s %12s ns   %-12s %12s ns   %8.2f ×\n", name, number(ours), list[j], number(theirs), theirs / ours
		}
	}
}

function number(x) { return x < 100 ? sprintf("%.1f", x) : sprintf("%.0f", x) }

function median(name, impl,    n, i, j, v, sorted) {
	n = count[name, impl]
	for (i = 1; i <= n; i++) {
		v = runs[name, impl, i] + 0
		for (j = i - 1; j >= 1 && sorted[j] > v; j--) sorted[j + 1] = sorted[j]
		sorted[j + 1] = v
	}
	return n ? sorted[int((n + 1) / 2)] : 0
}
