package hosts_test

import (
	"time"

	"github.com/weirhq/weir/flow"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func entityID(id uint64) flow.ID { return flow.ID(id) }
