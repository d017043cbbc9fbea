// Go's client: go-elasticsearch.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/esapi"
)

const query = `{"query": {"match": {"title": "cat"}}}`

type answer struct {
	Count int `json:"count"`
	Hits  struct {
		Hits []struct {
			ID string `json:"_id"`
		} `json:"hits"`
	} `json:"hits"`
}

type seen struct {
	Client  string   `json:"client"`
	Level   string   `json:"level"`
	Search  []string `json:"search"`
	Pages   []string `json:"pages"`
	Count   int      `json:"count"`
	Got     []string `json:"got"`
	Refused int      `json:"refused"`
	Text    string   `json:"text"`
}

func read(response *esapi.Response, err error) (answer, string) {
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	var found answer
	if err := json.Unmarshal(content, &found); err != nil {
		log.Fatal(err, string(content))
	}
	return found, string(content)
}

func ids(found answer) []string {
	names := []string{}
	for _, hit := range found.Hits.Hits {
		names = append(names, hit.ID)
	}
	return names
}

func main() {
	index := os.Getenv("INDEX")
	keys, all := map[string]string{}, []string{}
	if json.Unmarshal([]byte(os.Getenv("KEYS")), &keys) != nil ||
		json.Unmarshal([]byte(os.Getenv("IDS")), &all) != nil {
		log.Fatal("KEYS and IDS are JSON")
	}
	for level, key := range keys {
		es, err := elasticsearch.NewClient(elasticsearch.Config{
			Addresses: []string{os.Getenv("GATEWAY")}, APIKey: key,
		})
		if err != nil {
			log.Fatal(err)
		}
		told := seen{Client: "go-elasticsearch", Level: level, Pages: []string{}, Got: []string{}}
		search := func(from, size int) (answer, string) {
			return read(es.Search(es.Search.WithIndex(index), es.Search.WithFrom(from),
				es.Search.WithSize(size), es.Search.WithBody(strings.NewReader(query))))
		}
		found, text := search(0, 20)
		told.Search, told.Text = ids(found), text
		for _, from := range []int{0, 2, 4} {
			page, _ := search(from, 2)
			told.Pages = append(told.Pages, ids(page)...)
		}
		counted, _ := read(es.Count(es.Count.WithIndex(index),
			es.Count.WithBody(bytes.NewBufferString(query))))
		told.Count = counted.Count
		for _, id := range all {
			response, err := es.Get(index, id)
			if err != nil {
				log.Fatal(err)
			}
			if response.StatusCode == 200 {
				told.Got = append(told.Got, id)
			}
			response.Body.Close()
		}
		refused, err := es.Cat.Indices()
		if err != nil {
			log.Fatal(err)
		}
		told.Refused = refused.StatusCode
		slices.Sort(told.Search)
		slices.Sort(told.Pages)
		slices.Sort(told.Got)
		line, err := json.Marshal(told)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(line))
	}
}
