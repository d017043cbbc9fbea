// Java's client: elasticsearch-java.

import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch._types.ElasticsearchException;
import co.elastic.clients.elasticsearch.core.SearchResponse;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

public class Clients {
    static final String INDEX = System.getenv("INDEX");

    static SearchResponse<Map> search(ElasticsearchClient client, int from, int size)
            throws Exception {
        return client.search(
                s -> s.index(INDEX).from(from).size(size)
                        .query(q -> q.match(m -> m.field("title").query("cat"))),
                Map.class);
    }

    static List<String> ids(SearchResponse<Map> found) {
        List<String> names = new ArrayList<>();
        found.hits().hits().forEach(hit -> names.add(hit.id()));
        return names;
    }

    static int refused(ElasticsearchClient client) throws Exception {
        try {
            client.indices().stats();
        } catch (ElasticsearchException error) {
            return error.status();
        }
        return 200;
    }

    @SuppressWarnings("unchecked")
    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        Map<String, String> keys = json.readValue(System.getenv("KEYS"), Map.class);
        List<String> all = json.readValue(System.getenv("IDS"), List.class);
        for (Map.Entry<String, String> each : keys.entrySet()) {
            try (ElasticsearchClient client = ElasticsearchClient.of(
                    b -> b.host(System.getenv("GATEWAY")).apiKey(each.getValue()))) {
                SearchResponse<Map> found = search(client, 0, 20);
                List<String> pages = new ArrayList<>();
                for (int from : new int[] {0, 2, 4}) {
                    pages.addAll(ids(search(client, from, 2)));
                }
                List<String> got = new ArrayList<>();
                for (String id : all) {
                    if (client.get(g -> g.index(INDEX).id(id), Map.class).found()) {
                        got.add(id);
                    }
                }
                Map<String, Object> seen = new LinkedHashMap<>();
                seen.put("client", "elasticsearch-java");
                seen.put("level", each.getKey());
                seen.put("search", ids(found).stream().sorted().toList());
                seen.put("pages", pages.stream().sorted().toList());
                seen.put("count", client.count(c -> c.index(INDEX)).count());
                seen.put("got", got.stream().sorted().toList());
                seen.put("refused", refused(client));
                seen.put("text", found.toString());
                System.out.println(json.writeValueAsString(seen));
            }
        }
    }
}
