package event

// Kind is what happened. The list in Kinds is the only one.
type Kind string

// Severity is that of RFC 5424 §6.2.1, as far as it is used.
type Severity uint8

// Severities, most urgent first.
const (
	SeverityError   Severity = 3
	SeverityWarning Severity = 4
	SeverityNotice  Severity = 5
	SeverityInfo    Severity = 6
)

// Kinds of network events.
const (
	HostConnected     Kind = "host_connected"
	HostLost          Kind = "host_lost"
	HostRefused       Kind = "host_refused"
	SwitchRestarted   Kind = "switch_restarted"
	VIFPlugged        Kind = "vif_plugged"
	VIFUnplugged      Kind = "vif_unplugged"
	VIFMoved          Kind = "vif_moved"
	VIFDuplicate      Kind = "vif_duplicate"
	PortError         Kind = "port_error"
	AddressConflict   Kind = "address_conflict"
	AddressDiffers    Kind = "address_differs"
	AddressFlood      Kind = "address_flood"
	ExporterSilent    Kind = "exporter_silent"
	ExporterHeard     Kind = "exporter_heard"
	ForeignController Kind = "foreign_controller"
	ExportSet         Kind = "export_set"
	ExportWiped       Kind = "export_wiped"
	ExportForeign     Kind = "export_foreign"
	ControllerSet     Kind = "controller_set"
	ControllerWiped   Kind = "controller_wiped"
	MirrorStarted     Kind = "mirror_started"
	MirrorStopped     Kind = "mirror_stopped"
	MirrorFailed      Kind = "mirror_failed"
	MirrorWiped       Kind = "mirror_wiped"
	HostDetached      Kind = "host_detached"
	HostModeChanged   Kind = "host_mode_changed"
	PolicyApplied     Kind = "policy_applied"
	PolicyBypassed    Kind = "policy_bypassed"
	PolicyRestored    Kind = "policy_restored"
	PolicyInstalled   Kind = "policy_installed"
	PolicyDrift       Kind = "policy_drift"
	PolicyForeign     Kind = "policy_foreign"
	PolicyFailed      Kind = "policy_failed"
	PolicyRemoved     Kind = "policy_removed"
	PoolConnected     Kind = "pool_connected"
	PoolLost          Kind = "pool_lost"
	PoolController    Kind = "pool_controller"
	LibvirtConnected  Kind = "libvirt_connected"
	LibvirtLost       Kind = "libvirt_lost"
	VIFSpoofs         Kind = "vif_spoofs"
	LimitsSet         Kind = "limits_set"
	LimitsWiped       Kind = "limits_wiped"
	LimitsForeign     Kind = "limits_foreign"
	FailModeChanged   Kind = "fail_mode_changed"
	FailModeEntered   Kind = "fail_mode_entered"
	FailModeLeft      Kind = "fail_mode_left"
	VIFQuarantined    Kind = "vif_quarantined"
	VIFReleased       Kind = "vif_released"
)

// About describes a kind.
type About struct {
	Kind     Kind
	Severity Severity
	Doc      string // when it is told, a sentence
}

// Kinds describes all kinds, in the order of the constants.
var Kinds = []About{
	{HostConnected, SeverityInfo, "A session with a host's database is up and its content is known."},
	{HostLost, SeverityError, "The session with a host ended and did not come back at once."},
	{HostRefused, SeverityWarning, "A host was refused: its certificate is not the one that was confirmed, or nobody has confirmed one."},
	{SwitchRestarted, SeverityWarning, "ovs-vswitchd of a host was started anew: its flows are gone, and port numbers may differ."},
	{VIFPlugged, SeverityInfo, "A VIF was plugged into a bridge."},
	{VIFUnplugged, SeverityInfo, "A VIF was unplugged, and is plugged nowhere else."},
	{VIFMoved, SeverityInfo, "A VIF was unplugged at one host and plugged at another."},
	{VIFDuplicate, SeverityWarning, "A VIF is plugged at two hosts for longer than a migration takes."},
	{PortError, SeverityError, "Open vSwitch could not make an interface, or it has no OpenFlow port."},
	{AddressConflict, SeverityWarning, "Two VIFs of a network have the same MAC or IP address, or one says that it has the other's."},
	{AddressDiffers, SeverityNotice, "A VIF was seen to have an address that is none of those that sources tell of it."},
	{AddressFlood, SeverityWarning, "A VIF says that it has more addresses than Weir remembers."},
	{ExporterSilent, SeverityWarning, "An exporter that sent flows has sent nothing for three active timeouts."},
	{ExporterHeard, SeverityInfo, "An exporter that was silent sends again."},
	{ForeignController, SeverityWarning, "A bridge has an OpenFlow controller that is not Weir's."},
	{ExportSet, SeverityInfo, "Weir set up the export of flows at a bridge."},
	{ExportWiped, SeverityWarning, "Somebody else removed or changed the export of flows that Weir had set up; it is set up again."},
	{ExportForeign, SeverityWarning, "A bridge exports flows by a setting that is not Weir's, which Weir leaves alone."},
	{ControllerSet, SeverityInfo, "Weir made a bridge dial it by OpenFlow."},
	{ControllerWiped, SeverityWarning, "Somebody else removed or changed what makes a bridge dial Weir by OpenFlow; it is set up again."},
	{MirrorStarted, SeverityNotice, "Copies of the traffic of VIFs go to a mirror target from now on."},
	{MirrorStopped, SeverityNotice, "No more copies of the traffic of VIFs go to a mirror target."},
	{MirrorFailed, SeverityWarning, "Copies of the traffic of VIFs are asked for, and cannot be made as things are at the host, or the bridge has as many mirrors as it can."},
	{MirrorWiped, SeverityWarning, "Somebody else removed or changed mirrors that Weir had set up; they are set up again."},
	{HostDetached, SeverityNotice, "Weir removed everything of its own from a host and put back what was there before."},
	{HostModeChanged, SeverityNotice, "Somebody changed what Weir may do at a host, or at the hosts of a pool: observe, enforce or detach."},
	{PolicyApplied, SeverityNotice, "Somebody put a policy in force."},
	{PolicyBypassed, SeverityWarning, "Somebody switched policy off, for a VIF, a host, a pool or all."},
	{PolicyRestored, SeverityNotice, "Somebody switched policy on again where it was off."},
	{PolicyInstalled, SeverityInfo, "A bridge was found to hold the flows of the policy, after it did not: the first time, after a restart of its switch, or after they had not gone in."},
	{PolicyDrift, SeverityWarning, "Somebody else changed, removed or added flows or groups of Weir's at a bridge; it is set right."},
	{PolicyForeign, SeverityWarning, "Flows of others at a bridge bypass policy, or groups of others have ids that Weir wants; Weir leaves them alone."},
	{PolicyFailed, SeverityError, "A bridge did not take the flows of the policy; those that were there before are still in force."},
	{PolicyRemoved, SeverityNotice, "Weir removed its flows and groups from a bridge."},
	{PoolConnected, SeverityInfo, "All that a pool's XAPI has was read, and changes are followed."},
	{PoolLost, SeverityError, "A pool's XAPI cannot be asked any more; what it said last stays in use."},
	{PoolController, SeverityWarning, "A pool is registered with an SDN controller that is not Weir's."},
	{LibvirtConnected, SeverityInfo, "All domains of a host's libvirt were read, and changes are followed."},
	{LibvirtLost, SeverityError, "A host's libvirt cannot be asked any more; what it said last stays in use."},
	{VIFSpoofs, SeverityWarning, "A guard dropped packets of a VIF: with addresses that it may not use, or as servers send. Told again after ten minutes at the earliest, with how many it were since."},
	{LimitsSet, SeverityInfo, "What limits the rates of a bridge's VIFs is set as the policy asks."},
	{LimitsWiped, SeverityWarning, "Somebody else removed or changed what limits the rates of VIFs at a host; it is set up again."},
	{LimitsForeign, SeverityWarning, "A port of a VIF whose rate is to be limited has a limit of others already, which Weir leaves alone."},
	{FailModeChanged, SeverityNotice, "A bridge does something else than before while Weir is away."},
	{FailModeEntered, SeverityError, "A bridge that enforces policy has been without Weir for longer than it waits: it is as its fail mode says now."},
	{FailModeLeft, SeverityNotice, "A bridge that was without Weir has it again, and was found to hold the policy."},
	{VIFQuarantined, SeverityWarning, "A VIF was quarantined, by somebody or since guards dropped its packets again and again: it sends and receives nothing."},
	{VIFReleased, SeverityNotice, "Somebody released a VIF that was quarantined."},
}

var kinds = func() map[Kind]About {
	m := make(map[Kind]About, len(Kinds))
	for _, k := range Kinds {
		m[k.Kind] = k
	}
	return m
}()

// Known tells whether k is one of Kinds.
func (k Kind) Known() bool { return kinds[k].Kind != "" }

// Severity returns that of k in Kinds; SeverityInfo of a kind that is not there.
func (k Kind) Severity() Severity {
	if a, ok := kinds[k]; ok {
		return a.Severity
	}
	return SeverityInfo
}

// String returns the severity as a word.
func (s Severity) String() string {
	switch s {
	case SeverityError:
		return "error"
	case SeverityWarning:
		return "warning"
	case SeverityNotice:
		return "notice"
	default:
		return "info"
	}
}
