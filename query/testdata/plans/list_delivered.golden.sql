error: traffic: a list shows records, not traffic: filter by verdict, or use top or series
