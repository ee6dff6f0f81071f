import { render } from 'preact';
import { ComparePage } from './compare';
import { InstancesPage } from './instances';
import { useRoute } from './use-route';
import { RunPage } from './run';
import { RunsPage } from './runs';
import { useOverview } from './overview';
import { Loading, TroubleNote } from './parts';

function App() {
  const route = useRoute();
  const overview = useOverview();
  const { data } = overview;
  return (
    <>
      <header>
        <h1>
          <a href="#/">nx-ec2</a>
        </h1>
        <nav aria-label="Pages">
          <a href="#/" aria-current={route.page === 'runs' ? 'page' : undefined}>
            Runs
          </a>
          <a href="#/instances" aria-current={route.page === 'instances' ? 'page' : undefined}>
            Instances
          </a>
        </nav>
        <span class="store">{data?.store}</span>
      </header>
      <main>
        {route.page === 'runs' && (
          <>
            <TroubleNote trouble={overview.trouble} what="The runs can't be listed." />
            {data ? <RunsPage overview={data} /> : overview.trouble === null && <Loading />}
          </>
        )}
        {route.page === 'run' && <RunPage key={`${route.project} ${route.run}`} {...route} overview={data} />}
        {route.page === 'compare' && <ComparePage runs={route.runs} />}
        {route.page === 'instances' && <InstancesPage />}
      </main>
    </>
  );
}

const app = document.getElementById('app')!;
app.textContent = '';
render(<App />, app);
