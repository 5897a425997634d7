error: traffic: found "allowed": expected seen, delivered or denied
