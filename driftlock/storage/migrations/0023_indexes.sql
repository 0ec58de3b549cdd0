-- Lists stay fast with a million findings: indexes that hold what lists filter by besides their order, so that what a filter
-- drops is dropped without a look at the table. Each serves all that the one in whose place it is put has served.
--
-- On a large table this takes some seconds an index, in which records are journaled and nothing is scored.

create index anomalies_in_order on driftlock.anomalies (tenant_id, detected_at desc, end_ns desc, id desc)
  include (ncd, p_value, start_ns, silenced_by);
drop index driftlock.anomalies_by_time;
create index anomalies_in_order_of_stream on driftlock.anomalies (stream_id, detected_at desc, end_ns desc, id desc)
  include (tenant_id, question, ncd, p_value, start_ns, silenced_by);
drop index driftlock.anomalies_by_stream;
create index anomalies_in_order_of_question on driftlock.anomalies (tenant_id, question, detected_at desc, end_ns desc, id desc)
  include (ncd, p_value, start_ns, silenced_by);
drop index driftlock.anomalies_by_question;
drop index driftlock.anomalies_by_end;  -- a page is looked for in the order of its list now

create index incidents_in_order on driftlock.incidents (tenant_id, start_ns desc, id desc)
  include (end_ns, state, alerted, findings);
drop index driftlock.incidents_by_time;
create index incidents_open_in_order on driftlock.incidents (tenant_id, start_ns desc, id desc)
  include (end_ns, alerted, findings) where state = 'open';
drop index driftlock.incidents_open;
-- How many alerts a stream has spent is counted for every stream of a list.
create index incidents_of_stream on driftlock.incidents (began_in, end_ns) include (tenant_id, alerted, alerted_ns);
drop index driftlock.incidents_by_stream;

create index audit_by_action on driftlock.audit (tenant_id, action, at desc, id desc);
