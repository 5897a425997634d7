// Package alert is the one list of alert rules that Weir brings, and the form in which Grafana reads them from files.
//
//	Rules ──► Encode ──► deploy/grafana/provisioning/alerting/weir.yaml ──► Read     own structs, strictly
//	   └────► the table in docs/howto/alerts.md, a runbook in docs/runbooks for each
//
// A rule asks figures of the data source, each with labels that say what it is about; a threshold for each figure; and, of several, that all are
// beyond theirs. Figures are numbers and never series, so that nothing has to be reduced. Each threshold is in one place of the file,
// on a line that ends with its name: who wants another one changes that line.
//
// Questions end at the end of the range and never at now(), so that a test can ask as of any time. Sums are by the time of receipt, of which
// nothing comes late. All questions go without a user, as Grafana's scheduler sends them.
package alert

//go:generate go test . -run ^TestGenerated$ -update
