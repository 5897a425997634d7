/** @jest-environment jsdom */
import { FieldType, createDataFrame } from '@grafana/data';

import { valuesOf } from './options';

test('values of a variable are texts of the answer, each once', () => {
  const frame = createDataFrame({
    fields: [
      { name: 'bytes', type: FieldType.number, values: [1, 2, 3, 4] },
      { name: 'vm', type: FieldType.string, values: ['a', '', 'b', 'a'] },
      { name: 'network', type: FieldType.string, values: ['x', 'y', 'z', 'w'] },
    ],
  });
  expect(valuesOf([frame])).toEqual(['a', 'b']);
  const named = createDataFrame({ fields: [{ name: 'a', type: FieldType.string, values: ['no'] }, { name: 'text', type: FieldType.string, values: ['yes'] }] });
  expect(valuesOf([named, frame])).toEqual(['yes', 'a', 'b']);
  expect(valuesOf([createDataFrame({ fields: [{ name: 'n', type: FieldType.number, values: [1] }] })])).toEqual([]);
});
