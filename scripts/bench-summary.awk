# Reads what scripts/bench.sh has measured and prints the ratios, each with its goal. Of several runs the best counts: the
# least time or the largest rate of each side, so that a ratio compares what each can do.

/^Benchmark/ {
	name = $1
	sub(/-[0-9]+$/, "", name)
	sub(/^Benchmark/, "", name)
	for (i = 3; i < NF; i += 2) {
		unit = $(i + 1)
		more = unit ~ /^x-|\/s$|^%of/ # is better
		key = name SUBSEP unit
		if (!(key in best) || (more ? $i + 0 > best[key] : $i + 0 < best[key])) best[key] = $i + 0
		if (unit != "ns/op") has[name] = 1
	}
	if (!(name in seen)) { seen[name] = 1; order[++names] = name }
}

function get(name, unit) { return ((name SUBSEP unit) in best) ? best[name, unit] : "" }

function cell(v, format) { return v == "" ? sprintf("%11s", "–") : sprintf("%11s", sprintf(format, v)) }

function ratio(title, unit, base, goal,    line, k, a, b) {
	line = sprintf("  %-44s", title)
	for (k = 1; k <= kinds; k++) {
		a = get("Ratios/" kind[k], unit); b = get("Ratios/" kind[k], base)
		line = line cell(a == "" || b == "" || b == 0 ? "" : a / b, "%.1f ×")
	}
	print line (goal == "" ? "" : "   " goal)
}

END {
	kinds = split("v5 v9-IPv4 v9-IPv6 ipfix-IPv4 ipfix-IPv6", kind, " ")
	if (get("Ratios/v9-IPv4", "ns/flow") != "") decode()
	udp()
	if (get("Stored", "%of-raw") != "") stored()
	sizes()
	questions()
	estate()
	hosts()
	policy()
}

# policy prints what enforcing costs: compiling alone, one bridge, and the farm with the built program.
function policy() {
	if (get("Rule/all", "cpu-µs/op") != "") {
		printf "\n  Policy compiled: one rule of 200 changes on 64 bridges of 50 VIFs: CPU time %.0f ms; one VIF of 10 000 is plugged again: %.1f ms on a bridge of 50, %.0f ms on one that has all\n",
			get("Rule/all", "cpu-µs/op") / 1e3, get("VIF/50here", "cpu-µs/op") / 1e3, get("VIF/10000here", "cpu-µs/op") / 1e3
	}
	if (get("Bridge/100000", "ms/installed") != "")
		printf "  100 000 flows on a bridge, installed and read back: %.2f s; ovs-ofctl --bundle add-flows: %.2f s, %.1f × as long   goal: 1.0 × or more\n",
			get("Bridge/100000", "ms/installed") / 1e3, get("Bridge/100000", "ms/ovs-ofctl") / 1e3, get("Bridge/100000", "ms/ovs-ofctl") / get("Bridge/100000", "ms/installed")
	if (get("Farm", "ms/change") != "")
		printf "  64 bridges by the loop alone: programmed after %.1f s; one flow changes on all, read back after %.2f s\n", get("Farm", "ms/whole") / 1e3, get("Farm", "ms/change") / 1e3
	if (get("Policy", "all-ms") != "") {
		printf "  64 hosts × 50 VIFs × 200 rules, weir up: enforced %.1f s after that is asked for (%.0f flows a bridge, CPU time of Weir %.1f s, its memory %.0f MiB)\n",
			get("Policy", "whole-ms") / 1e3, get("Policy", "flows/bridge"), get("Policy", "whole-cpu-ms") / 1e3, get("Policy", "MiB")
		printf "  one rule changes there, from the start of weir policy apply: packets meet it at the first host after %.2f s, at all after %.2f s, read back at all after %.2f s (CPU time of Weir %.2f s)   goal: 1 s\n",
			get("Policy", "first-ms") / 1e3, get("Policy", "all-ms") / 1e3, get("Policy", "verified-ms") / 1e3, get("Policy", "change-cpu-ms") / 1e3
	}
}

function estate() {
	if (get("Enrich/100k_vifs/ports_uniform", "cpu-ns/flow") != "") {
		print "  Look-ups among 100 000 VIFs, 10 000 prefixes and 1 000 groups: CPU time a flow"
		printf "  by port %.0f ns, by address %.0f ns; late, 100 VMs having changed: %.0f ns and %.0f ns\n", get("Enrich/100k_vifs/ports_uniform", "cpu-ns/flow"),
			get("Enrich/100k_vifs/addresses_uniform", "cpu-ns/flow"), get("Enrich/100k_vifs/ports_late", "cpu-ns/flow"), get("Enrich/100k_vifs/addresses_late", "cpu-ns/flow")
	}
	if (get("AssembleChange", "cpu-ms/op") != "")
		printf "  a VIF changes there: known after %.0f ms, CPU time %.0f ms; all anew %.0f ms\n\n", get("AssembleChange", "ns/op") / 1e6, get("AssembleChange", "cpu-ms/op"), get("AssembleChange", "whole-cpu-ms")
}

function hosts() {
	if (get("FleetOfFarm", "ns/op") != "")
		printf "  %.0f hosts with 50 VMs each, and three that are frozen: all known after %.2f s\n", get("FleetOfFarm", "hosts"), get("FleetOfFarm", "ns/op") / 1e9
	if (get("Pool", "known-ms") != "") {
		printf "\n  A pool of 10 000 VMs, by XAPI: in the estate %.1f s after the start of the process, with %.1f s of CPU time and %.0f MiB, of which %.0f MiB are heap;\n",
			get("Pool", "known-ms") / 1000, get("Pool", "known-cpu-ms") / 1000, get("Pool", "MiB"), get("Pool", "heap-MiB")
		printf "  1000 of them renamed at once: %.1f s, %.1f s of CPU time; all read again for want of one: %.1f s, %.1f s of CPU time\n",
			get("Pool", "changed-ms") / 1000, get("Pool", "changed-cpu-ms") / 1000, get("Pool", "drift-ms") / 1000, get("Pool", "drift-cpu-ms") / 1000
	}
	if (get("Hosts", "known-ms") != "")
		printf "  64 of them, from the start of weir up: connected after %.1f s, all VIFs in the estate after %.1f s (CPU time %.1f s); all export %.1f s after they are told to\n",
			get("Hosts", "connected-ms") / 1000, get("Hosts", "known-ms") / 1000, get("Hosts", "cpu-ms") / 1000, get("Hosts", "export-ms") / 1000
}

function decode(    line, k) {
	line = sprintf("  %-44s", "Decoding: CPU time of each, in turns")
	for (k = 1; k <= kinds; k++) line = line sprintf("%11s", kind[k])
	print line
	ratio("goflow v3, to flow messages / Weir", "goflow3-produced-ns/flow", "ns/flow", "goal: 20 × or more")
	ratio("goflow v3, fields left as octets / Weir", "goflow3-ns/flow", "ns/flow", "")
	ratio("goflow2, to flow messages / Weir", "goflow2-produced-ns/flow", "ns/flow", "")
	ratio("goflow2, fields left as octets / Weir", "goflow2-ns/flow", "ns/flow", "")
	ratio("Weir / bare loop that copies fields", "ns/flow", "bare-ns/flow", "goal: 3 × or less")
	line = sprintf("  %-44s", "Weir, ns a flow")
	for (k = 1; k <= kinds; k++) line = line cell(get("Ratios/" kind[k], "ns/flow"), "%.1f")
	print line "\n"
}

function udp(    i, n, parts, rate, rates, list, impls, impl, line, j, base) {
	for (i = 1; i <= names; i++) {
		if (split(order[i], parts, "/") != 3 || parts[1] != "UDP") continue
		if (!(parts[2] in rate)) { rate[parts[2]] = 1; list[++rates] = parts[2] }
	}
	if (!rates) return
	n = split("weir nfcapd nfacctd", impls, " ")
	print "  From UDP, one core each, same datagrams and buffers: CPU time a flow accepted, datagrams lost\n"
	line = sprintf("  %-22s", "offered, flows/s")
	for (j = 1; j <= n; j++) line = line sprintf("%22s", impls[j])
	print line "     peers / Weir, CPU"
	for (i = 1; i <= rates; i++) {
		line = sprintf("  %-22s", list[i])
		base = get("UDP/" list[i] "/impl=weir", "cpu-ns/flow")
		for (j = 1; j <= n; j++) {
			impl = "UDP/" list[i] "/impl=" impls[j]
			line = line sprintf("%22s", get(impl, "cpu-ns/flow") == "" ? "not measured" : sprintf("%.0f ns  %5.2f %%", get(impl, "cpu-ns/flow"), get(impl, "%lost")))
		}
		for (j = 2; j <= n; j++) {
			impl = "UDP/" list[i] "/impl=" impls[j]
			line = line cell(get(impl, "cpu-ns/flow") == "" || !base ? "" : get(impl, "cpu-ns/flow") / base, "%.1f ×")
		}
		print line
	}
	print "  goal: 200 ns or less, no loss above what nfcapd takes without\n"
}

function stored() {
	print "  From UDP to rows and rollups stored, beside raw rows of the same flows, encoded beforehand, into the same store\n"
	printf "  %.0f rows/s of %.0f: %.0f %%   goal: 80 %% or more\n", get("Stored", "rows/s"), get("Stored", "raw-rows/s"), 100 * get("Stored", "rows/s") / get("Stored", "raw-rows/s")
	printf "  (raw rows as single batches of 50 000: %.0f rows/s)\n", get("Stored", "raw-single-rows/s")
	printf "  CPU time a row: Weir %.0f ns, store %.0f ns (raw rows alone: %.0f ns)\n\n", get("Stored", "weir-cpu-ns/row"), get("Stored", "store-cpu-ns/row"), get("Stored", "raw-store-cpu-ns/row")
}

function sizes(    i, n, parts, any) {
	for (i = 1; i <= names; i++) {
		n = split(order[i], parts, "/")
		if (n != 2 || parts[2] !~ /^(table|column)=/ || get(order[i], "B/flow") == "") continue
		if (!any++) print "  On disk, bytes a flow (goal: 15 or less in table flows)\n"
		sub(/=/, " ", parts[2])
		if (get(order[i], "B/flow") >= 0.005) printf "  %-32s %8.2f\n", parts[2], get(order[i], "B/flow")
	}
	if (any) print ""
}

function questions(    i, n, parts, any, goal) {
	if (get("Full/load", "rows/s") != "") printf "  Loaded at %.0f rows/s\n\n", get("Full/load", "rows/s")
	for (i = 1; i <= names; i++) {
		n = split(order[i], parts, "/")
		if (n != 4 || parts[2] !~ /^question=/) continue
		if (!any++) printf "  %-28s %-18s %10s %10s\n", "question", "table", "cold, ms", "warm, ms"
		goal = parts[3] == "reach=summed" ? "goal: 100 ms" : parts[3] == "reach=keyed" ? "goal: 1 s" : "all records are read"
		sub(/.*=/, "", parts[2]); sub(/.*=/, "", parts[4])
		printf "  %-28s %-18s %10.0f %10.0f   %s\n", parts[2], parts[4], get(order[i], "cold-ms"), get(order[i], "warm-ms"), goal
	}
}
