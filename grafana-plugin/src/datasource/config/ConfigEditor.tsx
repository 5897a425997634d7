import { onUpdateDatasourceSecureJsonDataOption, updateDatasourcePluginResetOption, type DataSourcePluginOptionsEditorProps } from '@grafana/data';
import { Combobox, Divider, Field, FieldSet, Input, SecretInput, SecretTextArea, Stack, Switch, Text, TextLink } from '@grafana/ui';
import { useId, type ReactElement, type ReactNode } from 'react';

import { caps, defaults, sqlRoles, type Options, type Secrets } from './settings';

type Props = DataSourcePluginOptionsEditorProps<Options, Secrets>;

/** Width of a line of input, in units of 8 px. */
const width = 60;

/** The settings of a data source. What they mean and default to is the backend's; here they are explained. */
export function ConfigEditor(props: Props) {
  const { options, onOptionsChange } = props;
  const { jsonData } = options;
  const set = (change: Partial<Options>) => onOptionsChange({ ...options, jsonData: { ...jsonData, ...change } });
  const tls = /^(https|clickhouses):/i.test(jsonData.url ?? '');

  return (
    <Stack direction="column" gap={1}>
      <FieldSet label="Connection">
        <Setting
          label="URL"
          description={
            <>
              Address of ClickHouse: http:// or https:// for its HTTP interface, clickhouse:// or clickhouses:// for its native one. The store of weir up on this machine is{' '}
              {defaults.url}.
            </>
          }
        >
          {(id) => <Input id={id} width={width} placeholder={defaults.url} value={jsonData.url ?? ''} onChange={(e) => set({ url: e.currentTarget.value.trim() })} />}
        </Setting>
        <Setting label="Database" description="Database that Weir's tables are in.">
          {(id) => <Input id={id} width={width} placeholder={defaults.database} value={jsonData.database ?? ''} onChange={(e) => set({ database: e.currentTarget.value })} />}
        </Setting>
        <Setting label="User" description="A user that can only read: weir_ro of the embedded store. Health tells if it can write.">
          {(id) => <Input id={id} width={width} placeholder={defaults.username} autoComplete="off" value={jsonData.username ?? ''} onChange={(e) => set({ username: e.currentTarget.value })} />}
        </Setting>
        <Setting label="Password">
          {(id) => (
            <SecretInput
              id={id}
              width={width}
              autoComplete="new-password"
              isConfigured={options.secureJsonFields.password === true}
              value={options.secureJsonData?.password ?? ''}
              onReset={() => updateDatasourcePluginResetOption(props, 'password')}
              onChange={onUpdateDatasourceSecureJsonDataOption(props, 'password')}
            />
          )}
        </Setting>
        <Setting label="Timeout" description="Longest wait for a connection to be made, as 10s or 500ms.">
          {(id) => <Input id={id} width={20} placeholder={defaults.timeout} value={jsonData.timeout ?? ''} onChange={(e) => set({ timeout: e.currentTarget.value.trim() })} />}
        </Setting>
      </FieldSet>

      <FieldSet label="TLS">
        <Text element="p" color="secondary">
          {tls ? 'Of the connection to ClickHouse.' : 'Used if the URL begins with https:// or clickhouses://.'}
        </Text>
        <Secret {...props} name="tlsCACert" label="CA certificate" description="PEM, for a server whose certificate no public authority has signed. Empty: the authorities that Grafana's machine knows." />
        <Setting label="Server name" description="Name in the server's certificate, if it is not that of the URL.">
          {(id) => <Input id={id} width={width} value={jsonData.tlsServerName ?? ''} onChange={(e) => set({ tlsServerName: e.currentTarget.value.trim() })} />}
        </Setting>
        <Secret {...props} name="tlsClientCert" label="Client certificate" description="PEM, for a server that asks clients for one." />
        <Secret {...props} name="tlsClientKey" label="Client key" description="PEM, the private key of the client certificate." />
        <Setting label="Skip verification" description="Takes any certificate: whoever is on the way can read and change everything, the password included.">
          {(id) => <Switch id={id} value={jsonData.tlsSkipVerify ?? false} onChange={(e) => set({ tlsSkipVerify: e.currentTarget.checked })} />}
        </Setting>
      </FieldSet>

      <FieldSet label="Raw SQL">
        <Setting
          label="Who may write SQL"
          description="Least role in Grafana for queries of type SQL. Whoever may, can read all that the ClickHouse user can. Other queries are made by Weir and are for everybody who may query the data source. The backend checks it, whatever the browser sends."
        >
          {(id) => <Combobox id={id} width={30} options={sqlRoles} value={jsonData.sqlRole ?? defaults.sqlRole} onChange={(o) => set({ sqlRole: o.value })} />}
        </Setting>
        <Setting
          label="SQL without a user"
          description="Alert rules, recording rules and reports ask in nobody's name, so that there is no role to check. They were written by somebody who may edit them. Off: such queries of type SQL are refused, all others are answered."
        >
          {(id) => <Switch id={id} value={jsonData.sqlWithoutUser ?? defaults.sqlWithoutUser} onChange={(e) => set({ sqlWithoutUser: e.currentTarget.checked })} />}
        </Setting>
      </FieldSet>

      <FieldSet label="Caps">
        <Text element="p" color="secondary">
          Hold for every query, so that no panel can exhaust Grafana, the browser or ClickHouse. An answer that was cut says so. Empty takes the default.
        </Text>
        {caps.map(({ name, label, description, normal }) => (
          <Setting key={name} label={label} description={description}>
            {(id) => (
              <Input
                id={id}
                width={20}
                type="number"
                min={1}
                placeholder={String(normal)}
                value={jsonData[name] ?? ''}
                onChange={(e) => set({ [name]: e.currentTarget.value === '' ? undefined : e.currentTarget.valueAsNumber })}
              />
            )}
          </Setting>
        ))}
      </FieldSet>
      <Divider />
      <Text element="p" color="secondary" variant="bodySmall">
        Every setting can be provisioned by a file, under the same names in jsonData and secureJsonData. What ClickHouse holds for Weir is described in{' '}
        <TextLink external inline href="https://github.com/weirhq/weir/blob/main/docs/reference/schema.md">
          the reference of the schema
        </TextLink>
        .
      </Text>
    </Stack>
  );
}

interface SettingProps {
  label: string;
  description?: ReactNode;
  children: (id: string) => ReactElement<Record<string, unknown>>;
}

function Setting({ label, description, children }: SettingProps) {
  const id = useId();
  return (
    <Field label={label} description={description} htmlFor={id}>
      {children(id)}
    </Field>
  );
}

/** A secret of several lines. */
function Secret(props: Props & { name: 'tlsCACert' | 'tlsClientCert' | 'tlsClientKey'; label: string; description: string }) {
  const { options, name, label, description } = props;
  return (
    <Setting label={label} description={description}>
      {(id) => (
        <SecretTextArea
          id={id}
          rows={4}
          cols={64}
          placeholder={name === 'tlsClientKey' ? '-----BEGIN PRIVATE KEY-----' : '-----BEGIN CERTIFICATE-----'}
          isConfigured={options.secureJsonFields[name] === true}
          onReset={() => updateDatasourcePluginResetOption(props, name)}
          onChange={onUpdateDatasourceSecureJsonDataOption(props, name)}
        />
      )}
    </Setting>
  );
}
