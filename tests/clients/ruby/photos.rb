# Ruby's clients: elasticsearch-ruby, and the models of Rails by elasticsearch-model.
#
# "index" fills an index of its own, straight in the engine; without it the same models are searched
# through the gateway.
require 'active_record'
require 'elasticsearch/model'
require 'json'

ActiveRecord::Base.establish_connection(adapter: 'sqlite3', database: ':memory:')
ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define { create_table(:photos, id: :string) { |t| t.string :title, :word } }

class Photo < ActiveRecord::Base
  include Elasticsearch::Model
  index_name "#{ENV.fetch('INDEX')}-photos-of-rails"
  settings index: { number_of_shards: 1 } do
    mappings do
      indexes :title, type: 'text'
      indexes :word, type: 'keyword'
    end
  end
end

JSON.parse(ENV.fetch('TITLES')).each { |id, title| Photo.create!(id: id, title: title, word: title.split.last) }

def client(url, key = nil)
  headers = key ? { 'Authorization' => "ApiKey #{key}" } : {}
  made = Elasticsearch::Client.new(url: url, transport_options: { headers: headers })
  # The Elasticsearch of the tests has no "GET /", and an OpenSearch tells a version that is too low.
  made.instance_variable_set(:@verified, true)
  made
end

if ARGV == ['index']
  Photo.__elasticsearch__.client = client(ENV.fetch('ENGINE'))
  Photo.__elasticsearch__.create_index!(force: true)
  Photo.find_each { |photo| photo.__elasticsearch__.index_document }
  puts Photo.index_name
  exit
end

QUERY = { match: { title: 'cat' } }.freeze

def status
  yield
  200
rescue Elasticsearch::Transport::Transport::ServerError => e
  e.message[/\d+/].to_i
end

def say(client, level, seen)
  puts JSON.generate({ client: client, level: level }.merge(seen))
end

JSON.parse(ENV.fetch('KEYS')).each do |level, key|
  es = Photo.__elasticsearch__.client = client(ENV.fetch('GATEWAY'), key)
  ids = JSON.parse(ENV.fetch('IDS'))

  found = Photo.search(query: QUERY, size: 20, highlight: { fields: { title: {} } },
                       aggs: { words: { terms: { field: 'word' } } })
  pages = [0, 2, 4].flat_map { |from| Photo.search({ query: QUERY }, from: from, size: 2).map(&:id) }
  say('elasticsearch-model (Rails)', level,
      search: found.records.map(&:id).sort, pages: pages.sort, count: found.response.hits.total.value,
      refused: status { Photo.__elasticsearch__.create_index!(force: true) },
      text: [found.response.to_h, Photo.search('cat').results.map(&:title)])

  index = ENV.fetch('INDEX')
  all = es.search(index: index, body: { query: QUERY, size: 20 })
  paged = [0, 2, 4].flat_map do |from|
    es.search(index: index, q: 'title:cat', from: from, size: 2)['hits']['hits'].map { |hit| hit['_id'] }
  end
  several = es.msearch(body: [{ index: index, search: { query: QUERY, size: 20 } }])['responses'].first
  raise 'msearch differs' unless several['hits']['hits'] == all['hits']['hits']

  say('elasticsearch-ruby', level,
      search: all['hits']['hits'].map { |hit| hit['_id'] }.sort, pages: paged.sort,
      count: es.count(index: index, body: { query: QUERY })['count'],
      got: ids.select { |id| status { es.get(index: index, id: id) } == 200 }.sort,
      refused: status { es.cat.indices }, text: all)
end
