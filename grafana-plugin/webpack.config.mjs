// Builds dist/: the app, and in dist/datasource the data source. Grafana loads each module.js by SystemJS, and gives it
// the libraries that it has itself. The same sources give the same bytes, wherever the checkout is.
//
// VERSION of the environment is the version that plugin.json says, else that of package.json.
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';

const root = import.meta.dirname;
const src = join(root, 'src');
const version = (process.env.VERSION ?? JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version).replace(/^v/, '');

/** Paths of the files below a folder, or of the one file; none if there is nothing. */
function files(path) {
  if (!existsSync(path)) {
    return [];
  }
  if (statSync(path).isFile()) {
    return [path];
  }
  return readdirSync(path, { recursive: true }).sort().map((name) => join(path, name)).filter((name) => statSync(name).isFile());
}

const dashboards = join(root, '../deploy/grafana/dashboards');

/** What goes into dist beside the modules, from and to: metadata, pages, logos, and the dashboards that the data source offers. */
function copied() {
  return [
    ...['plugin.json', 'README.md', 'img', 'datasource/plugin.json', 'datasource/img']
      .flatMap((name) => files(join(src, name)))
      .map((path) => [path, relative(src, path)]),
    ...files(dashboards).map((path) => [path, join('datasource/dashboards', relative(dashboards, path))]),
    ...['LICENSE', 'CHANGELOG.md'].map((name) => [join(root, '..', name), name]),
  ];
}

/** plugin.json with the version in it, and for the data source its dashboards: they can be imported from its page of settings. */
function metadata(text) {
  const plugin = JSON.parse(text.replaceAll('%VERSION%', version));
  if (plugin.type === 'datasource') {
    plugin.includes = files(dashboards).map((path) => ({
      type: 'dashboard',
      name: JSON.parse(readFileSync(path, 'utf8')).title,
      path: join('dashboards', relative(dashboards, path)),
    }));
  }
  return `${JSON.stringify(plugin, null, 2)}\n`;
}

/** Emits what is copied. */
class Copy {
  apply(compiler) {
    const { Compilation, sources } = compiler.webpack;
    compiler.hooks.thisCompilation.tap('Copy', (compilation) => {
      compilation.hooks.processAssets.tap({ name: 'Copy', stage: Compilation.PROCESS_ASSETS_STAGE_ADDITIONAL }, () => {
        for (const [from, to] of copied()) {
          const content = readFileSync(from);
          compilation.fileDependencies.add(from);
          compilation.emitAsset(to, new sources.RawSource(to.endsWith('plugin.json') ? metadata(content.toString()) : content));
        }
      });
    });
  }
}

export default (_env, { mode }) => ({
  mode,
  context: src,
  target: ['web', 'es2022'],
  devtool: mode === 'production' ? 'source-map' : 'eval-source-map',
  entry: { module: './module.ts', 'datasource/module': './datasource/module.ts' },
  output: {
    path: join(root, 'dist'),
    // What make plugin puts beside it, the executables, stays.
    clean: { keep: /gpx_/ },
    filename: '[name].js',
    library: { type: 'amd' },
    uniqueName: 'weir-app',
    publicPath: 'public/plugins/weir-app/',
    devtoolModuleFilenameTemplate: 'webpack://weir-app/[resource-path]',
  },
  resolve: { extensions: ['.ts', '.tsx', '.js'] },
  module: {
    rules: [
      {
        test: /\.tsx?$/,
        exclude: /node_modules/,
        loader: 'swc-loader',
        options: {
          jsc: {
            target: 'es2022',
            parser: { syntax: 'typescript', tsx: true },
            transform: { react: { runtime: 'automatic' } },
          },
        },
      },
    ],
  },
  // What Grafana brings.
  externals: [/^@grafana\/(data|ui|runtime|schema|i18n|e2e-selectors)$/, /^@emotion\//, 'react', 'react-dom', 'react/jsx-runtime', 'rxjs', 'lodash', 'moment'],
  plugins: [new Copy()],
  performance: { maxAssetSize: 256 << 10, maxEntrypointSize: 256 << 10, hints: 'error' },
});
