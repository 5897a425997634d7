error: traffic: "host" is of each observation, not of packets that were delivered: use traffic denied, or seen
