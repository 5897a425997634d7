import { migrate, type WeirQuery } from './model';

/** A query in words, for lists of queries. */
export function describe(query: WeirQuery): string {
  const { queryType, flows, records, events, exporters, hits, inventory, statistics, sql } = migrate(query);
  switch (queryType) {
    case 'flows':
      return sentence(
        list(flows?.units) || 'bps',
        part('by', list(flows?.by)),
        part('where', flows?.filter),
        part('direction', flows?.direction === 'both' ? '' : flows?.direction),
        part('traffic', flows?.traffic === 'seen' ? '' : flows?.traffic)
      );
    case 'records':
      return sentence('flow records', part('where', records?.filter));
    case 'events':
      return sentence('events', part('of', list(events?.kinds)), part('from', events?.severity), part('with', events?.text), part('where', events?.filter));
    case 'exporters':
      return sentence('exporters', part('of', list(exporters?.what)), part('by', list(exporters?.by)), part('where', exporters?.filter));
    case 'hits':
      return sentence(hits?.unused ? 'rules that were not met' : 'hits of rules', part('by', hits?.by === 'rule' ? '' : hits?.by), part('of', hits?.rule), part('with verdict', hits?.verdict));
    case 'inventory':
      return sentence('inventory', part('of', inventory?.kind), part('like', inventory?.match));
    case 'statistics':
      return sentence(
        'statistics',
        part('of the', statistics?.of),
        list(statistics?.what),
        part('by', list(statistics?.by)),
        part('at', statistics?.machine),
        part('of', statistics?.service)
      );
    case 'sql':
      return sql?.text?.replace(/\s+/g, ' ').trim() ?? '';
    default:
      return String(queryType);
  }
}

function list(words: readonly string[] = []): string {
  return words.join(', ');
}

function part(word: string, text: string | undefined): string {
  return text ? `${word} ${text}` : '';
}

function sentence(...parts: string[]): string {
  return parts.filter((p) => p !== '').join(' ');
}
