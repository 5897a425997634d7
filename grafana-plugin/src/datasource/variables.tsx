import { CustomVariableSupport, FieldType, createDataFrame, type DataFrame, type DataQueryRequest, type DataQueryResponse, type DataSourceApi, type QueryEditorProps } from '@grafana/data';
import { from, map, type Observable } from 'rxjs';

import type { Options } from './config/settings';
import type { WeirDataSource } from './datasource';
import { VariableEditor } from './editor/VariableEditor';
import type { WeirQuery } from './query/model';
import { firstValues, valuesOf, type VariableQuery } from './query/options';

/** Values that a variable has at most. */
const limit = 1000;

type Source = DataSourceApi<WeirQuery, Options>;

/** Variables whose values are looked up, or asked for in the time range of the dashboard. */
export class Variables extends CustomVariableSupport<Source, VariableQuery, WeirQuery, Options> {
  constructor(private readonly source: WeirDataSource) {
    super();
  }

  override editor = (props: QueryEditorProps<Source, WeirQuery, Options, VariableQuery>) => <VariableEditor {...props} datasource={this.source} />;

  override query(request: DataQueryRequest<VariableQuery>): Observable<DataQueryResponse> {
    const [target] = request.targets;
    const { queryType: type = 'values' } = target ?? {};
    if (!target || type === 'values') {
      const { field, prefix = '' } = target?.values ?? firstValues;
      const begin = this.source.replace(prefix, request.scopedVars) || searchOf(request.scopedVars.__searchFilter?.value);
      return from(this.source.values(field, begin, limit)).pipe(map((values) => ({ data: [frameOf(values)] })));
    }
    const query: WeirQuery = { ...target, version: target.version ?? 1, queryType: type };
    return this.source.query({ ...request, targets: [query] }).pipe(map((r) => ({ ...r, data: [frameOf(valuesOf(r.data as DataFrame[]))] })));
  }
}

/** What somebody writes into the list of the variable. */
function searchOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function frameOf(values: string[]): DataFrame {
  return createDataFrame({ fields: [{ name: 'text', type: FieldType.string, values }, { name: 'value', type: FieldType.string, values }] });
}
