"""The calls of the groups ``cluster``, ``indices`` and ``ingest`` that a safe client hands on.

An application sets up its indices with them. Each is here because its answer has no word, no number
and no date that comes from a document. Those that are not here are refused, for these reasons:

=====================================================  ============================================
indices: ``stats``, ``segments``, ``recovery``,        counts and sizes of all documents
``disk_usage``, ``field_usage_stats``,
``data_streams_stats``, ``get_migrate_reindex_status``
indices: ``rollover``                                  says which conditions on counts are met
indices: ``validate_query``                            explains a query by words of all documents
cluster: ``stats``, ``allocation_explain``             counts and sizes of all documents
cluster: ``info``                                      counts of documents that pipelines processed
ingest: ``simulate``                                   enriches a document from others
``perform_request`` of each                            sends anything
=====================================================  ============================================
"""

from __future__ import annotations

from saferank.ranker.bodies import names

INDICES = names(
    """
    add_block analyze cancel_migrate_reindex clear_cache clone close create create_data_stream
    create_from delete delete_alias delete_data_lifecycle delete_data_stream
    delete_data_stream_options delete_index_template delete_template downsample exists exists_alias
    exists_index_template exists_template explain_data_lifecycle flush forcemerge get get_alias
    get_data_lifecycle get_data_lifecycle_stats get_data_stream get_data_stream_mappings
    get_data_stream_options get_data_stream_settings get_field_mapping get_index_template
    get_mapping get_settings get_template migrate_reindex migrate_to_data_stream modify_data_stream
    open promote_data_stream put_alias put_data_lifecycle put_data_stream_mappings
    put_data_stream_options put_data_stream_settings put_index_template put_mapping put_settings
    put_template refresh reload_search_analyzers remove_block resolve_cluster resolve_index
    shard_stores shrink simulate_index_template simulate_template split unfreeze update_aliases
    """
)
INDICES_LEFT_OUT = {"get_data_stream": ("data_streams.maximum_timestamp",)}
"""The last date of any document."""

CLUSTER = names(
    """
    delete_component_template delete_voting_config_exclusions exists_component_template
    get_component_template get_settings health pending_tasks post_voting_config_exclusions
    put_component_template put_settings remote_info reroute state
    """
)
_OF_DOCUMENTS = tuple(
    f"**.indices.*.{name}"
    for name in (
        "event_ingested_range",
        "rollover_info",
        "shard_size_forecast",
        "stats",
        "timestamp_range",
        "write_load_forecast",
    )
)
CLUSTER_LEFT_OUT = {"reroute": _OF_DOCUMENTS, "state": _OF_DOCUMENTS}
"""Dates and sizes of the documents of an index."""

INGEST = names(
    """
    delete_geoip_database delete_ip_location_database delete_pipeline geo_ip_stats
    get_geoip_database get_ip_location_database get_pipeline processor_grok put_geoip_database
    put_ip_location_database put_pipeline
    """
)
