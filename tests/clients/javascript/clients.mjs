// JavaScript's clients: @elastic/elasticsearch, opensearch-js, the connector of Search UI, and Searchkit.
import { Client } from '@elastic/elasticsearch'
import { Client as OpenSearch } from '@opensearch-project/opensearch'
import connector from '@elastic/search-ui-elasticsearch-connector'
import Searchkit from '@searchkit/api'

const { GATEWAY: node, INDEX: index } = process.env
const allIds = JSON.parse(process.env.IDS)
const query = { match: { title: 'cat' } }
const ids = (hits) => hits.map((hit) => hit._id)
const say = (client, level, seen) => console.log(JSON.stringify({ client, level, ...seen }))

async function status (call) {
  try {
    await call()
  } catch (error) {
    return error.statusCode
  }
  return 200
}

async function elasticsearch (level, apiKey) {
  const client = new Client({ node, auth: { apiKey } })
  const found = await client.search({ index, query, size: 20 })
  const pages = []
  for (const from of [0, 2, 4]) {
    pages.push(...ids((await client.search({ index, query, from, size: 2 })).hits.hits))
  }
  const scrolled = []
  for await (const page of client.helpers.scrollSearch({ index, query, size: 2 })) {
    scrolled.push(...ids(page.body.hits.hits))
  }
  const got = []
  for (const id of allIds) {
    if (await status(() => client.get({ index, id })) === 200) got.push(id)
  }
  say('@elastic/elasticsearch', level, {
    search: ids(found.hits.hits).sort(),
    pages: pages.sort(),
    count: (await client.count({ index, query })).count,
    got: got.sort(),
    refused: await status(() => client.esql.query({ query: `FROM ${index}` })),
    text: JSON.stringify(found)
  })
  say('@elastic/elasticsearch, its scroll helper', level, { pages: scrolled.sort() })
  await client.close()
}

async function opensearch (level, apiKey) {
  const client = new OpenSearch({ node, headers: { Authorization: `ApiKey ${apiKey}` } })
  const found = (await client.search({ index, body: { query, size: 20 } })).body
  const pages = []
  for (const from of [0, 2, 4]) {
    pages.push(...ids((await client.search({ index, body: { query, from, size: 2 } })).body.hits.hits))
  }
  const got = []
  for (const id of allIds) {
    if (await status(() => client.get({ index, id })) === 200) got.push(id)
  }
  const pit = (await client.createPit({ index, keep_alive: '1m' })).body.pit_id
  const inPit = []
  let after = {}
  for (let page = 0; page < 4; page++) {
    const body = { pit: { id: pit }, query, size: 2, sort: ['word'], ...after }
    const hits = (await client.search({ body })).body.hits.hits
    if (hits.length > 0) after = { search_after: hits[hits.length - 1].sort }
    inPit.push(...ids(hits))
  }
  await client.deletePit({ body: { pit_id: [pit] } })
  say('opensearch-js, a point in time', level, { pages: inPit.sort() })
  say('opensearch-js', level, {
    search: ids(found.hits.hits).sort(),
    pages: pages.sort(),
    count: (await client.count({ index, body: { query } })).body.count,
    got: got.sort(),
    refused: await status(() => client.cat.indices()),
    text: JSON.stringify(found)
  })
  await client.close()
}

async function searchUi (level, apiKey) {
  const Connector = connector.default ?? connector
  const one = new Connector({ host: node, index, apiKey })
  const asked = {
    search_fields: { title: {} },
    result_fields: { word: { raw: {} }, title: { snippet: {} } },
    facets: { word: { type: 'value', size: 50 } },
    disjunctiveFacets: []
  }
  const state = { searchTerm: 'cat', filters: [], sortList: [], resultsPerPage: 20, current: 1 }
  const found = await one.onSearch(state, asked)
  const pages = []
  for (const current of [1, 2, 3]) {
    const page = await one.onSearch({ ...state, resultsPerPage: 2, current }, asked)
    pages.push(...page.results.map((result) => result.id.raw))
  }
  say('Search UI', level, {
    search: found.results.map((result) => result.id.raw).sort(),
    pages: pages.sort(),
    count: found.totalResults,
    text: JSON.stringify(found)
  })
}

async function searchkit (level, apiKey) {
  const one = Searchkit({
    connection: { host: node, apiKey },
    search_settings: {
      search_attributes: ['title'],
      result_attributes: ['title', 'word'],
      highlight_attributes: ['title'],
      snippet_attributes: ['title'],
      facet_attributes: ['word']
    }
  })
  // As the widgets of InstantSearch ask: the page of hits, and the values of a facet that is chosen.
  const ask = async (params) => (await one.handleRequest([
    { indexName: index, params: { query: 'cat', facets: ['word'], maxValuesPerFacet: 50, ...params } },
    { indexName: index, params: { query: 'cat', hitsPerPage: 0, facets: ['word'] } }
  ])).results
  const names = (results) => results[0].hits.map((hit) => hit.objectID)
  const found = await ask({ hitsPerPage: 20 })
  const pages = []
  for (const page of [0, 1, 2]) pages.push(...names(await ask({ hitsPerPage: 2, page })))
  const values = await one.handleRequest([
    { indexName: index, params: { facetName: 'word', facetQuery: 'mark' } }
  ])
  say('Searchkit', level, {
    search: names(found).sort(),
    pages: pages.sort(),
    count: found[0].nbHits,
    text: JSON.stringify([found, values])
  })
}

for (const [level, key] of Object.entries(JSON.parse(process.env.KEYS))) {
  await elasticsearch(level, key)
  await opensearch(level, key)
  await searchUi(level, key)
  await searchkit(level, key)
}
