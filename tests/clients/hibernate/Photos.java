// Hibernate Search: entities of Java, kept and found by its backend for Elasticsearch and OpenSearch.
//
// "index" fills an index of its own, straight in the engine; without it the same entities are searched
// through the gateway. What is found is read from the index, as a projection.

import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.hibernate.search.engine.backend.types.Aggregable;
import org.hibernate.search.engine.backend.types.Highlightable;
import org.hibernate.search.engine.backend.types.Projectable;
import org.hibernate.search.engine.backend.types.Sortable;
import org.hibernate.search.engine.search.aggregation.AggregationKey;
import org.hibernate.search.engine.search.query.SearchResult;
import org.hibernate.search.engine.search.query.SearchScroll;
import org.hibernate.search.engine.search.query.SearchScrollResult;
import org.hibernate.search.mapper.pojo.mapping.definition.annotation.AnnotatedTypeSource;
import org.hibernate.search.mapper.pojo.mapping.definition.annotation.DocumentId;
import org.hibernate.search.mapper.pojo.mapping.definition.annotation.FullTextField;
import org.hibernate.search.mapper.pojo.mapping.definition.annotation.Indexed;
import org.hibernate.search.mapper.pojo.mapping.definition.annotation.KeywordField;
import org.hibernate.search.mapper.pojo.mapping.definition.annotation.SearchEntity;
import org.hibernate.search.mapper.pojo.standalone.mapping.CloseableSearchMapping;
import org.hibernate.search.mapper.pojo.standalone.mapping.SearchMapping;
import org.hibernate.search.mapper.pojo.standalone.session.SearchSession;

public class Photos {
    static final AggregationKey<Map<String, Long>> WORDS = AggregationKey.of("words");
    static final ObjectMapper JSON = new ObjectMapper();

    @SearchEntity
    @Indexed(index = "photos-of-hibernate")
    public static class Photo {
        @DocumentId
        public String name;

        @FullTextField(projectable = Projectable.YES, highlightable = Highlightable.UNIFIED)
        public String title;

        @KeywordField(sortable = Sortable.YES, aggregable = Aggregable.YES)
        public String word;

        Photo(String name, String title) {
            this.name = name;
            this.title = title;
            this.word = title.substring(title.lastIndexOf(' ') + 1);
        }
    }

    static CloseableSearchMapping connected(String url, String key, String schema) {
        var builder = SearchMapping.builder(AnnotatedTypeSource.fromClasses(Photo.class))
                .property("hibernate.search.backend.type", "elasticsearch")
                .property("hibernate.search.backend.hosts", url.replace("http://", ""))
                .property("hibernate.search.schema_management.strategy", schema);
        if (!"opensearch".equals(System.getenv("SAFERANK_ENGINE"))) {
            // The Elasticsearch of the tests has no "GET /", which tells the version.
            builder.property("hibernate.search.backend.version", "9.2")
                    .property("hibernate.search.backend.version_check.enabled", "false");
        }
        if (key != null) {
            // A key is an id and a secret, which are a user and a password, too.
            byte[] pair = Base64.getDecoder().decode(key);
            String[] parts = new String(pair, StandardCharsets.UTF_8).split(":", 2);
            builder.property("hibernate.search.backend.username", parts[0])
                    .property("hibernate.search.backend.password", parts[1]);
        }
        return builder.build();
    }

    @SuppressWarnings("unchecked")
    static void fill() throws Exception {
        Map<String, String> titles = JSON.readValue(System.getenv("TITLES"), Map.class);
        try (CloseableSearchMapping mapping = connected(System.getenv("ENGINE"), null, "drop-and-create")) {
            try (SearchSession session = mapping.createSession()) {
                titles.forEach((name, title) -> session.indexingPlan().add(new Photo(name, title)));
            }
            try (SearchSession session = mapping.createSession()) {
                session.workspace(Photo.class).refresh();
            }
        }
        System.out.println("photos-of-hibernate-write");
    }

    static SearchResult<List<?>> search(SearchSession session, int from, int size) {
        return session.search(Photo.class)
                .select(f -> f.composite(f.id(), f.field("title"), f.highlight("title"), f.score()))
                .where(f -> f.match().field("title").matching("cat"))
                .highlighter(f -> f.unified())
                .aggregation(WORDS, f -> f.terms().field("word", String.class))
                .fetch(from, size);
    }

    static List<String> ids(List<List<?>> hits) {
        return hits.stream().map(hit -> (String) hit.get(0)).sorted().toList();
    }

    static int refused(SearchSession session) {
        try {
            session.schemaManager(Photo.class).createIfMissing();
        } catch (Exception error) {
            return error.getMessage().contains("403") ? 403 : 0;
        }
        return 200;
    }

    @SuppressWarnings("unchecked")
    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) {
            fill();
            return;
        }
        Map<String, String> keys = JSON.readValue(System.getenv("KEYS"), Map.class);
        for (Map.Entry<String, String> each : keys.entrySet()) {
            try (CloseableSearchMapping mapping = connected(System.getenv("GATEWAY"), each.getValue(), "none");
                    SearchSession session = mapping.createSession()) {
                SearchResult<List<?>> found = search(session, 0, 20);
                List<List<?>> pages = new ArrayList<>();
                for (int from : new int[] {0, 2, 4}) {
                    pages.addAll(search(session, from, 2).hits());
                }
                List<String> scrolled = new ArrayList<>();
                try (SearchScroll<Object> scroll = session.search(Photo.class).select(f -> f.id())
                        .where(f -> f.matchAll()).sort(f -> f.field("word")).scroll(2)) {
                    for (SearchScrollResult<Object> part = scroll.next(); part.hasHits(); part = scroll.next()) {
                        part.hits().forEach(name -> scrolled.add((String) name));
                    }
                }
                Map<String, Object> seen = new LinkedHashMap<>();
                seen.put("client", "Hibernate Search");
                seen.put("level", each.getKey());
                seen.put("search", ids(found.hits()));
                seen.put("pages", ids(pages));
                seen.put("count", session.search(Photo.class).where(f -> f.matchAll()).fetchTotalHitCount());
                seen.put("refused", refused(session));
                seen.put("text", List.of(found.hits().toString(), found.aggregation(WORDS).toString()));
                System.out.println(JSON.writeValueAsString(seen));
                seen = new LinkedHashMap<>();
                seen.put("client", "Hibernate Search, a scroll");
                seen.put("level", each.getKey());
                seen.put("pages", scrolled.stream().sorted().toList());
                System.out.println(JSON.writeValueAsString(seen));
            }
        }
    }
}
