-- Statements with `VALUES (...)` are run for many rows at once; those that change a row name it last. Where `{word}` stands, the
-- part of that name is put in.

-- part: kept_steps
-- A history that has become long (somebody asks for the same file again and again) loses its older half, but for the beginning:
-- that says whether the file is perhaps a copy, and, of a mirror, who delivered it.
CASE WHEN length(steps) < 32768 THEN steps ELSE substr(steps, 1, 4096 + instr(substr(steps, 4097), char(10)))
    || substr(steps, 20480 + instr(substr(steps, 20480), char(10))) END

-- part: unverified
-- Of a move: the destination could not say what arrived.
receipt LIKE '%"verified":"none"%'

-- part: same_content
-- The rows `one` and `other` are about the same content of the same origin.
other.identity = one.identity AND other.chain = one.chain AND other.path = one.path AND other.inode = one.inode
    AND other.size = one.size AND other.mtime_ns = one.mtime_ns

-- part: unfinished
-- Somebody has to go on with the file. What we announced (it has no provider) waits for others, not for us.
(state IN ('seen', 'requested', 'moving', 'publishing', 'failed') OR (state IN ('announced', 'moved') AND provider IS NOT NULL))

-- part: had_elsewhere
-- What we announced and did not deliver, and the last that was heard of it is that somebody has it all the same.
(state IN ('announced', 'failed') AND provider IS NULL AND steps LIKE '%["acknowledged",%'
 AND steps NOT LIKE '%["acknowledged",%' || char(10) || '["%')

-- part: is_waited_for
-- The origin was delivered to somebody, and waits to be removed. (A time that never comes is that of move_it, until all have it.)
path IS NOT NULL AND EXISTS (SELECT 1 FROM removals WHERE removals.file = files.id AND removals.due < 1e12)

-- part: had
-- A client, or another member of its group, has published the file, or is about to; or it had the same before.
(state IN ('publishing', 'published') OR (state = 'covered' AND (
    steps LIKE '%another member of the group has published it"]%' OR steps LIKE '%"the same content was delivered before"]%')))

-- part: dead_letter
-- The file is given up, and never got to anybody.
state = 'given_up' AND NOT EXISTS (
    SELECT 1 FROM transfers WHERE transfers.file = files.id AND transfers.state IN ('moved', 'acknowledged'))

-- part: found_by
-- A section would come upon the file: one that watches by its path, which is no deeper than the glob leads; one that listens by
-- the message about it. Of a file that was unpacked the packed one tells that; of several that were announced together all do.
(CASE WHEN :heard IS NULL THEN path IS NOT NULL
 ELSE EXISTS (SELECT 1 FROM json_each(:heard) WHERE substr(files.message, 10, length(value)) = value) END
 AND (path IS NULL OR (CAST(path AS TEXT) GLOB :glob AND CAST(path AS TEXT) NOT GLOB :deeper)
    OR EXISTS (SELECT 1 FROM packed WHERE packed.file = files.id
               AND CAST(packed.path AS TEXT) GLOB :glob AND CAST(packed.path AS TEXT) NOT GLOB :deeper)
    OR coalesce((SELECT min(CAST(members.path AS TEXT) GLOB :glob) FROM members WHERE members.file = files.id), 0)))

-- part: found_by_name
-- The same; of one that listens the path suffices, whatever message told of it.
({found_by} OR (:heard IS NOT NULL AND CAST(path AS TEXT) GLOB :glob))

-- part: wanted
-- A client asks for the file, or will: it has no path here.
(state IN ('announced', 'requested', 'failed') AND provider IS NOT NULL AND path IS NULL)

-- name: add_file
INSERT INTO files (id, chain, identity, key, state, time, steps, due, size, path, device, inode, mtime_ns, provider, message,
                   request, attempt, created)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: step
-- One step of one file: its new state, and a line more in its history.
UPDATE files SET state = new.column1, time = new.column2, attempt = new.column3, steps = {kept_steps} || new.column4
FROM (VALUES (?, ?, ?, ?, ?)) AS new WHERE files.id = new.column5;

-- name: step_due
-- The same, and when something is to be done next.
UPDATE files SET state = new.column1, time = new.column2, attempt = new.column3, due = new.column4,
                 steps = {kept_steps} || new.column5
FROM (VALUES (?, ?, ?, ?, ?, ?)) AS new WHERE files.id = new.column6;

-- name: step_all
-- The same step of many files at the same time (a list of ids in JSON).
UPDATE files SET state = ?, time = ?, steps = steps || ? WHERE id IN (SELECT value FROM json_each(?));

-- name: cover_by_newer
-- What was announced under the name of a file and could not be had, or that nobody asked us for, is covered where newer content
-- was announced.
UPDATE files SET state = 'covered', time = :now, due = NULL, steps = {kept_steps} || :line
WHERE id IN (SELECT older.id FROM files AS one JOIN files AS older ON older.identity = one.identity AND older.chain = one.chain
             WHERE one.id = :id AND older.path = one.path AND older.id < (
                 SELECT max(newest.id) FROM files AS newest
                 WHERE newest.identity = one.identity AND newest.chain = one.chain AND newest.path = one.path)
               AND (older.state IN ('failed', 'given_up') OR (older.state = 'announced' AND older.provider IS NULL)));

-- name: note
-- A line in the history that changes nothing else.
UPDATE files SET steps = {kept_steps} || :line WHERE id = :id;

-- name: ask
-- A request is about to be sent: to whom, with what id. The key becomes that of the provider that is asked: by it the provider's
-- announcement is recognised when it is heard again.
UPDATE files SET state = 'requested', time = new.column1, attempt = new.column2, due = NULL, request = new.column3,
                 provider = new.column4, key = new.column5, message = new.column6, steps = {kept_steps} || new.column7
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?)) AS new WHERE files.id = new.column8;

-- name: file
SELECT * FROM files WHERE id = ?;

-- name: files_of
-- What is known of one identity in one chain, newest first.
SELECT * FROM files WHERE identity = ? AND chain = ? ORDER BY id DESC LIMIT 50;

-- name: replaced_among
-- Of the files in a list those with newer content of their name.
SELECT DISTINCT files.id AS id FROM files JOIN files AS newer
ON newer.identity = files.identity AND newer.chain = files.chain AND newer.id > files.id
WHERE files.id IN (SELECT value FROM json_each(?));

-- name: delivered_after
-- The announcements of newer content of the name of a file that was delivered, by us or by another member of the group.
SELECT newer.message AS message FROM files JOIN files AS newer
ON newer.identity = files.identity AND newer.chain = files.chain AND newer.id > files.id
WHERE files.id = ? AND newer.message IS NOT NULL AND (newer.state IN ('publishing', 'published') OR (
    newer.state = 'covered' AND (newer.steps LIKE '% has it"]%' OR newer.steps LIKE '% has published it"]%')));

-- name: announced_files
-- The same for many identities at once, oldest first. What is where we removed a file is another one, also if it got its inode.
SELECT path, size, mtime_ns, CASE WHEN steps LIKE '%["removed",%"removed %' THEN 0 ELSE inode END AS inode FROM files
WHERE chain = ? AND identity IN (SELECT value FROM json_each(?)) AND path IS NOT NULL ORDER BY id;

-- name: given_up_files
-- Or where one of several who asked was refused for good: what others have said since is what the state tells.
SELECT * FROM files
WHERE chain = ? AND identity IN (SELECT value FROM json_each(?)) AND path IS NOT NULL AND (state = 'given_up'
  OR EXISTS (SELECT 1 FROM transfers WHERE file = files.id AND transfers.state = 'given_up')) ORDER BY id;

-- name: is_refused
-- Whether somebody who asked for a file was refused for good.
SELECT 1 FROM transfers WHERE file = ? AND state = 'given_up' LIMIT 1;

-- name: files_not_removed
-- What was to be removed once, and was not there.
SELECT * FROM files
WHERE chain = ? AND identity IN (SELECT value FROM json_each(?)) AND path IS NOT NULL
  AND steps LIKE '%["removed",%"not removed: gone%' ORDER BY id;

-- name: known_files
-- The subject stands in a message between `pytroll:/` and the first blank.
SELECT id, identity, state, key, size, provider, substr(message, 10, instr(message, ' ') - 10) AS subject FROM files
WHERE chain = ? AND identity IN (SELECT value FROM json_each(?)) ORDER BY id;

-- name: any_of_provider
SELECT 1 FROM files WHERE chain = ? AND provider = ? LIMIT 1;

-- name: known_requests
SELECT chain, identity, key, request FROM files WHERE identity IN (SELECT value FROM json_each(?));

-- name: files_named
SELECT * FROM files WHERE identity = ? ORDER BY id DESC LIMIT 200;

-- name: files_due
-- What waits to be asked for (again) of one provider, oldest first.
SELECT * FROM files WHERE chain = ? AND provider = ? AND due IS NOT NULL AND due <= ? ORDER BY due, id LIMIT ?;

-- name: ids_due
-- The same by their ids, which the index alone tells.
SELECT id FROM files WHERE chain = ? AND provider = ? AND due IS NOT NULL AND due <= ? ORDER BY due, id LIMIT ?;

-- name: providers_due
-- The providers for which something waits; jumps from one to the next, so that it costs nothing when much waits.
WITH RECURSIVE waiting (provider) AS (
    SELECT min(provider) FROM files WHERE chain = :chain AND due IS NOT NULL
    UNION ALL
    SELECT (SELECT min(files.provider) FROM files WHERE chain = :chain AND due IS NOT NULL AND files.provider > waiting.provider)
    FROM waiting WHERE waiting.provider IS NOT NULL)
SELECT provider FROM waiting WHERE provider IS NOT NULL LIMIT 200;

-- name: chains_due
-- The chains of which something waits, found in the same way.
WITH RECURSIVE waiting (chain) AS (
    SELECT min(chain) FROM files WHERE due IS NOT NULL
    UNION ALL
    SELECT (SELECT min(files.chain) FROM files WHERE due IS NOT NULL AND files.chain > waiting.chain)
    FROM waiting WHERE waiting.chain IS NOT NULL)
SELECT chain FROM waiting WHERE chain IS NOT NULL;

-- name: files_elsewhere
-- What waits for one provider and could be had from another one.
SELECT files.*, sources.provider AS other FROM files JOIN sources ON sources.file = files.id
WHERE chain = ? AND files.provider = ? AND due IS NOT NULL AND due <= ? AND sources.provider <> files.provider
GROUP BY files.id ORDER BY files.id LIMIT ?;

-- name: hurry_files
-- What waits for one provider need wait no longer.
UPDATE files SET due = ? WHERE chain = ? AND provider = ? AND due > ?;

-- name: postpone
-- A file that waits has to wait on.
UPDATE files SET due = ? WHERE id = ? AND due IS NOT NULL;

-- name: overdue_files
-- What waits for one provider and could have been tried since long ago.
SELECT * FROM files WHERE chain = ? AND provider = ? AND due < ? ORDER BY due LIMIT ?;

-- name: files_in_state
SELECT * FROM files WHERE chain = ? AND state = ? ORDER BY id;

-- name: interrupt_files
-- What was under way here when the process ended will be asked for again.
UPDATE files SET state = 'announced', steps = steps || ? WHERE state = 'moving';

-- name: interrupt_transfers
-- What was being moved when the process ended: delivered, if it had been before; else not.
UPDATE transfers SET state = CASE WHEN receipt LIKE '[%' THEN 'moved' ELSE 'failed' END,
                     receipt = CASE WHEN receipt LIKE '[%' THEN receipt ELSE 'interrupted' END
WHERE state = 'moving';

-- name: left_behind
-- What was begun to be moved, and is tried again by nobody: part of it may be at its destination. After an error only of large
-- files, which may be resumed. In any order: what cannot be removed must not keep the rest away.
SELECT transfers.*, files.path FROM transfers JOIN files ON files.id = transfers.file
WHERE transfers.state = 'failed' AND transfers.time < ? AND files.path IS NOT NULL
  AND transfers.chain IN (SELECT value FROM json_each(?))
  AND (transfers.receipt = 'interrupted' OR (files.size >= ? AND transfers.receipt NOT LIKE 'left nothing: %'))
ORDER BY random() LIMIT ?;

-- name: end_left_behind
UPDATE transfers SET receipt = 'left nothing: ' || receipt WHERE file = ? AND transfer = ? AND state = 'failed' AND time = ?;

-- name: add_source
INSERT OR REPLACE INTO sources (file, provider, message) VALUES (?, ?, ?);

-- name: any_source
SELECT 1 FROM sources LIMIT 1;

-- name: sources_of
SELECT provider, message FROM sources WHERE file = ?;

-- name: add_announcement
INSERT INTO announcements (position, file, subject, previous, message, time) VALUES (?, ?, ?, ?, ?, ?);

-- name: hold_announcements
-- Those at the positions in a list are not sent yet.
UPDATE announcements SET held = 1 WHERE position IN (SELECT value FROM json_each(?));

-- name: let_go
-- They are about to be sent.
UPDATE announcements SET held = 0 WHERE position IN (SELECT value FROM json_each(?));

-- name: last_position
SELECT max(position) FROM announcements WHERE subject = ?;

-- name: newest_position
SELECT max(position) FROM announcements;

-- name: newest_but
-- The position of the newest announcement but so many.
SELECT position FROM announcements ORDER BY position DESC LIMIT 1 OFFSET ?;

-- name: forgotten_since
-- Of which subjects announcements after a position are no longer kept; of one chain, or (empty) of all.
SELECT subject, max(position) AS position, max(time) AS time FROM forgotten
WHERE position > ? AND (? = '' OR chain = ?) GROUP BY subject;

-- name: forgotten_until
-- The time of the newest announcement of one chain that is no longer kept. Older ones may be kept: their files wait to be removed.
SELECT max(time) AS time FROM forgotten WHERE chain = ?;

-- name: note_forgotten
-- Announcements of the files in a list are about to be removed.
INSERT INTO forgotten (chain, subject, position, time)
SELECT files.chain, subject, max(position), max(announcements.time) FROM announcements JOIN files ON files.id = announcements.file
WHERE announcements.file IN (SELECT value FROM json_each(?)) AND NOT ({is_waited_for}) GROUP BY files.chain, subject
ON CONFLICT (chain, subject) DO UPDATE SET position = max(position, excluded.position), time = max(time, excluded.time);

-- name: bound_forgotten
DELETE FROM forgotten WHERE position < (SELECT position FROM forgotten ORDER BY position DESC LIMIT 1 OFFSET 5000);

-- name: announcements_since
SELECT position, subject, message, time FROM announcements WHERE position > ? ORDER BY position LIMIT ?;

-- name: announced_at
SELECT files.* FROM announcements JOIN files ON files.id = announcements.file WHERE position = ?;

-- name: announced_among
SELECT announcements.position AS position, files.* FROM announcements JOIN files ON files.id = announcements.file
WHERE position IN (SELECT value FROM json_each(?));

-- name: transfers_among
SELECT * FROM transfers WHERE file IN (SELECT value FROM json_each(?));

-- name: announced_names
SELECT name FROM (SELECT position, announcements.subject || '/' || files.identity AS name
                  FROM announcements JOIN files ON files.id = announcements.file ORDER BY position DESC LIMIT 61000)
WHERE substr(name, 1, length(?)) = ? ORDER BY position DESC LIMIT ?;

-- name: unasked_announcements
-- Announced by us and never asked for by anybody.
SELECT announcements.message, announcements.position, announcements.file FROM announcements JOIN files ON files.id = announcements.file
WHERE files.chain = ? AND files.state = 'announced' AND files.path IS NOT NULL AND position > ? AND position <= ?
ORDER BY position LIMIT ?;

-- name: newest_file
SELECT max(id) FROM files;

-- name: files_since
-- What a server took in since a time, what is kept of it after its retention included; of one name and content the newest row.
SELECT max(id) AS id, key, path, size, mtime_ns, inode FROM files
WHERE chain = ? AND created >= ? AND id > ? AND id <= ? AND path IS NOT NULL AND provider IS NULL
  AND state NOT IN ('seen', 'covered')
GROUP BY path, size, mtime_ns, inode ORDER BY id LIMIT ?;

-- name: put_transfer
-- The section of the file may have another name by now than when the move began.
INSERT INTO transfers (file, transfer, chain, client, consumer_group, spare, peer, request, destination, state, time, attempt, receipt)
SELECT column1, column2, coalesce((SELECT chain FROM files WHERE id = column1), column3), column4, column5, column6, column7, column8,
       column9, column10, column11, column12, column13
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) WHERE true
ON CONFLICT (file, transfer) DO UPDATE SET peer = excluded.peer, request = excluded.request, state = excluded.state,
    time = excluded.time, attempt = excluded.attempt, client = excluded.client, spare = excluded.spare,
    receipt = coalesce(excluded.receipt, receipt);

-- name: lease
-- Who has the right to publish a delivery (see schema/0005.sql).
UPDATE transfers SET client = ?, request = ?, spare = ?, peer = ?, fence = ?, committed = ?, doubtful = ?
WHERE file = ? AND transfer = ?;

-- name: note_earlier
-- What the client of a move asked for it with before (see schema/0008.sql).
UPDATE transfers SET earlier = ? WHERE file = ? AND transfer = ?;

-- name: transfers_asked
-- For each [position, request, file or null] of a list: all moves of that file for the members of one group.
SELECT json_extract(asked.value, '$[1]') AS asked, transfers.* FROM json_each(?) AS asked
LEFT JOIN announcements ON announcements.position = json_extract(asked.value, '$[0]')
JOIN transfers ON transfers.file = coalesce(json_extract(asked.value, '$[2]'), announcements.file)
WHERE transfers.consumer_group = ? AND transfers.destination <> '';

-- name: put_progress
INSERT OR REPLACE INTO progress (file, chain, done, total, began, time) VALUES (?, ?, ?, ?, ?, ?);

-- name: end_progress
DELETE FROM progress WHERE file = ?;

-- name: end_all_progress
DELETE FROM progress;

-- name: under_way
SELECT files.identity AS identity, progress.*, coalesce(files.request,
       (SELECT request FROM transfers WHERE transfers.file = progress.file AND transfers.state = 'moving' LIMIT 1), '') AS request
FROM progress JOIN files ON files.id = progress.file
WHERE progress.chain = ? ORDER BY began LIMIT 20;

-- name: transfer
SELECT * FROM transfers WHERE file = ? AND transfer = ?;

-- name: transfers_of
SELECT * FROM transfers WHERE file = ? ORDER BY time;

-- name: delivered_last
-- What was delivered in the last seconds before the journal ended.
SELECT transfers.*, files.path, files.device, files.inode, files.size, files.mtime_ns
FROM transfers JOIN files ON files.id = transfers.file
WHERE transfers.chain = ? AND transfers.state IN ('moved', 'acknowledged') AND transfers.destination <> ''
  AND transfers.time > (SELECT max(time) - ? FROM transfers WHERE chain = ?);

-- name: moved_since
SELECT 1 FROM transfers WHERE time > ? AND state IN ('moved', 'acknowledged') LIMIT 1;

-- name: delivered_to
-- Whether an upstream client was served at an address: others there speak for themselves.
SELECT 1 FROM transfers WHERE file = ? AND peer = ? AND consumer_group = '' AND state IN ('moved', 'acknowledged');

-- name: delivered_by_requests
-- Files that were delivered for the requests in a list of [position, request, file or null], or for later ones of the same client.
SELECT transfers.file AS file, transfers.transfer AS transfer, client, consumer_group, spare FROM json_each(?) AS asked
LEFT JOIN announcements ON announcements.position = json_extract(asked.value, '$[0]')
JOIN transfers ON transfers.file = coalesce(json_extract(asked.value, '$[2]'), announcements.file)
  AND (transfers.request = json_extract(asked.value, '$[1]')
    OR instr(' ' || transfers.earlier || ' ', ' ' || json_extract(asked.value, '$[1]') || ' '))
WHERE transfers.request <> '' AND transfers.state = 'moved';

-- name: delivered_before
-- The same where the position is that of a later announcement of the same content, in a row of its own: it was away meanwhile, or
-- another section announced it. Anybody may name many positions of one name: its files are gone through once for all.
WITH later AS MATERIALIZED (
    SELECT json_extract(asked.value, '$[1]') AS request, files.id, files.identity, files.key FROM json_each(?) AS asked
    JOIN announcements ON announcements.position = json_extract(asked.value, '$[0]')
    JOIN files ON files.id = announcements.file),
  same AS MATERIALIZED (
    SELECT files.id, files.identity, files.key FROM (SELECT DISTINCT identity FROM later) AS named
    JOIN files ON files.identity = named.identity)
SELECT transfers.file AS file, transfers.transfer AS transfer, client, consumer_group, spare FROM later
JOIN same ON same.identity = later.identity AND same.key = later.key AND same.id < later.id
JOIN transfers ON transfers.file = same.id
  AND (transfers.request = later.request OR instr(' ' || transfers.earlier || ' ', ' ' || later.request || ' '))
WHERE transfers.request <> '' AND transfers.state = 'moved';

-- name: delivered_unannounced
-- Files that wait to be confirmed, and whose announcements are forgotten.
SELECT transfers.request AS request, transfers.file AS file FROM removals JOIN transfers ON transfers.file = removals.file
WHERE transfers.state = 'moved' AND transfers.request <> '' AND transfers.file NOT IN (SELECT file FROM announcements) LIMIT ?;

-- name: delivered_for
-- Whether a consumer, or a spare in its place, has got a file.
SELECT 1 FROM transfers WHERE file = ? AND (client = ? OR spare) AND consumer_group = ? AND state IN ('moved', 'acknowledged');

-- name: confirmations
-- Who has a file for good: of our clients those that confirmed it, of upstream's those that it was delivered to. Where the
-- destination could not say what arrived (blind), nobody has, and a mere ack (without receipt) of who was served so, or of another
-- one of its group, knows no more.
WITH moves AS (SELECT *, coalesce({unverified}, 0) AS blind FROM transfers WHERE file = ?)
SELECT client, consumer_group, spare, peer, time FROM moves
WHERE (state = 'acknowledged' OR (state = 'moved' AND consumer_group = '')) AND NOT blind
  AND (receipt IS NOT NULL OR NOT EXISTS (
    SELECT 1 FROM moves AS other WHERE other.blind AND (moves.client IN (other.client, other.peer)
                                                        OR moves.consumer_group = nullif(other.consumer_group, ''))));

-- name: was_delivered
SELECT 1 FROM transfers WHERE file = ? AND state IN ('moved', 'acknowledged') LIMIT 1;

-- name: consumers
-- The primaries of our kind that were served since a time.
SELECT client, consumer_group FROM transfers
WHERE chain = ?1 AND time > ?2 AND consumer_group <> '' AND NOT spare AND state IN ('moved', 'acknowledged')
UNION SELECT client, consumer_group FROM consumers WHERE chain = ?1 AND time > ?2;

-- name: note_consumers
-- Moves of the files in a list are about to be removed: who was served is remembered.
INSERT INTO consumers (chain, client, consumer_group, time, file)
SELECT chain, client, consumer_group, max(time), max(file) FROM transfers
WHERE file IN (SELECT value FROM json_each(?)) AND consumer_group <> '' AND NOT spare AND state IN ('moved', 'acknowledged')
GROUP BY chain, client, consumer_group
ON CONFLICT (chain, client, consumer_group) DO UPDATE SET time = max(time, excluded.time), file = max(file, excluded.file);

-- name: hand_on_consumers
-- A section has the place of another one (and so with what follows).
INSERT INTO consumers (chain, client, consumer_group, time, file)
SELECT :new, client, consumer_group, max(time), max(file) FROM (
    SELECT client, consumer_group, time, file FROM transfers
    WHERE chain = :old AND time > :since AND consumer_group <> '' AND NOT spare AND state IN ('moved', 'acknowledged')
    UNION ALL SELECT client, consumer_group, time, file FROM consumers WHERE chain = :old AND time > :since)
GROUP BY client, consumer_group
ON CONFLICT (chain, client, consumer_group) DO UPDATE SET time = max(time, excluded.time), file = max(file, excluded.file);

-- name: hand_on_files
-- What was announced under another topic is announced again, and what the section has itself is left alone.
UPDATE files SET chain = :new WHERE chain = :old AND {found_by}
  AND id NOT IN (SELECT file FROM announcements WHERE subject NOT GLOB :subjects)
  AND NOT EXISTS (SELECT 1 FROM files AS own WHERE own.identity = files.identity AND own.chain = :new AND own.key = files.key);

-- name: hand_on_transfers
UPDATE transfers SET chain = :new WHERE chain = :old AND file IN (SELECT id FROM files WHERE chain = :new);

-- name: hand_on_copies
UPDATE copies SET chain = :new WHERE chain = :old AND file IN (SELECT id FROM files WHERE chain = :new);

-- name: hand_on_removals
UPDATE removals SET chain = :new WHERE chain = :old
  AND file IN (SELECT id FROM files WHERE chain = :new OR (chain = :old AND {found_by_name}));

-- name: hand_on_cursors
-- Of two sections in whose place it is, the one that is not so far.
INSERT INTO cursors (chain, provider, epoch, position) SELECT :new, provider, epoch, position FROM cursors WHERE chain = :old
ON CONFLICT (chain, provider) DO UPDATE SET position = min(position, excluded.position) WHERE epoch = excluded.epoch;

-- name: found_last
-- The last files of a section, and behind them under what subjects they were announced, in order.
WITH last AS (SELECT id FROM files WHERE chain = ? ORDER BY id DESC LIMIT 100)
SELECT id, NULL AS subject, 0 AS position FROM last
UNION ALL SELECT file, subject, position FROM announcements WHERE file IN (SELECT id FROM last) ORDER BY position;

-- name: would_find
-- Whether a section would have announced one of the files in a list, and has not. Of one that listens the list tells under what
-- subjects they were announced.
SELECT 1 FROM files WHERE id IN (SELECT value FROM json_each(:files)) AND {found_by_name} AND NOT EXISTS (
    SELECT 1 FROM files AS own WHERE own.identity = files.identity AND own.chain = :new AND (
        own.key = files.key OR (own.inode = files.inode AND own.size = files.size AND own.mtime_ns = files.mtime_ns))) LIMIT 1;

-- name: forget_consumers
-- Those of longer ago, and all but the latest: anybody may make up a name.
DELETE FROM consumers WHERE time < ? OR time < (SELECT time FROM consumers ORDER BY time DESC LIMIT 1 OFFSET 10000);

-- name: move_consumers
UPDATE consumers SET time = time + :leap;

-- name: subject_heard
-- Of a file that a message spoke of: the subject stands between `pytroll:/` and the first blank.
SELECT substr(message, 10, instr(message, ' ') - 10) AS subject FROM files WHERE id = ? AND message IS NOT NULL;

-- name: topics_told
SELECT * FROM consumer_topics WHERE time > ? ORDER BY time DESC LIMIT ?;

-- name: note_topics
INSERT OR REPLACE INTO consumer_topics (client, consumer_group, topic, time) VALUES (?, ?, ?, ?);

-- name: forget_topics
DELETE FROM consumer_topics WHERE time < ?;

-- name: move_topics
UPDATE consumer_topics SET time = time + :leap;

-- name: acknowledge_transfers
-- What `delivered_by_requests` found: a list of [file, transfer].
UPDATE transfers SET state = 'acknowledged', time = :now
WHERE (file, transfer) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:found)) AND state = 'moved';

-- name: add_removal
-- Under the name that its section has by now.
INSERT OR IGNORE INTO removals (file, chain, due)
SELECT column1, coalesce((SELECT chain FROM files WHERE id = column1), column2), column3 FROM (VALUES (?, ?, ?));

-- name: due_removals
SELECT removals.file, removals.tries, files.created, files.identity, files.key, files.path, files.device, files.inode, files.size,
       files.mtime_ns
FROM removals JOIN files ON files.id = removals.file WHERE removals.chain = ? AND removals.due <= ? ORDER BY removals.due LIMIT ?;

-- name: move_removals
-- The clock was set.
UPDATE removals SET due = due + :leap;

-- name: move_transfers
UPDATE transfers SET time = time + :leap;

-- name: move_files
UPDATE files SET created = created + :leap, time = time + :leap, due = due + :leap;

-- name: move_confirmed
-- See client/acknowledging.py.
UPDATE meta SET value = CAST(value + :leap AS TEXT) WHERE name LIKE 'confirmed:%' OR name LIKE 'told:%';

-- name: bring_back_files
-- The clock was set back while nobody ran: what was to wait from a time that is not there yet waits as long from now.
UPDATE files INDEXED BY files_waiting SET due = :now + max(due - time, 0)
WHERE due IS NOT NULL AND due > :now AND time > :ahead;

-- name: bring_back_removals
UPDATE removals SET due = :now
WHERE due > :now AND due < 1e12 AND (SELECT files.time FROM files WHERE files.id = removals.file) > :ahead;

-- name: move_copies
UPDATE copies SET time = time + :leap;

-- name: delay_removal
UPDATE removals SET due = ?, tries = tries + 1 WHERE file = ?;

-- name: hurry_removals
-- Files that wait to be removed were confirmed: look at them now (a list of ids in JSON).
UPDATE removals SET due = ? WHERE file IN (SELECT value FROM json_each(?)) AND tries = 0;

-- name: wait_removal
-- Somebody has not confirmed yet.
UPDATE removals SET due = ? WHERE file = ?;

-- name: end_removal
DELETE FROM removals WHERE file = ?;

-- name: end_told
-- Who has to know that a file may go does, unless somebody was added meanwhile (which counts as a try).
DELETE FROM removals WHERE file = ? AND tries <= ?;

-- name: siblings
-- The rows of the same content of the same origin: one for each destination.
SELECT * FROM files WHERE identity = ? AND chain = ? AND path = ? AND inode = ? AND size = ? AND mtime_ns = ?;

-- name: same_origin
-- The same by whatever name of its directory: links and doubled slashes lead to one file.
SELECT * FROM files WHERE identity = ? AND chain = ? AND inode = ? AND size = ? AND mtime_ns = ?;

-- name: newer_content
-- Whether other content came to the path of a file after it.
SELECT 1 FROM files WHERE identity = ? AND chain = ? AND path = ? AND id > ? AND (inode, size, mtime_ns) <> (?, ?, ?) LIMIT 1;

-- name: release_removals
-- Origins that are at all their destinations by now, each of which, where the origin goes, could say what arrived; of what goes one
-- must have it at least: others may have been dismissed. What waits for that is `due` in the far future.
UPDATE removals SET due = :now WHERE chain = :chain AND (
    SELECT min(other.state IN ('publishing', 'published', 'covered')
               AND NOT (:deletes AND other.id IN (SELECT file FROM transfers WHERE {unverified})))
           AND (NOT :deletes OR max(other.state IN ('publishing', 'published')))
    FROM files AS one JOIN files AS other ON {same_content}
    WHERE one.id = removals.file);

-- name: leave_origin
-- Of a file that is covered for all its destinations nothing is awaited any more, and its origin is not ours to remove; a copy is.
DELETE FROM removals WHERE due >= 1e12 AND NOT EXISTS (SELECT 1 FROM packed WHERE packed.file = removals.file)
  AND file IN (SELECT other.id FROM files AS one JOIN files AS other ON {same_content} WHERE one.id = :id)
  AND NOT EXISTS (SELECT 1 FROM files AS one JOIN files AS other ON {same_content} WHERE one.id = :id AND other.state <> 'covered');

-- name: hasten_removals
-- What `release_removals` does, for the files in a list, which are known to be at all their destinations.
UPDATE removals SET due = ? WHERE file IN (SELECT value FROM json_each(?));

-- name: any_unverified
-- Whether a destination of the files in a list could not say what arrived.
SELECT 1 FROM transfers WHERE file IN (SELECT value FROM json_each(?)) AND {unverified} LIMIT 1;

-- name: removals_failing
SELECT count(*) FROM removals WHERE chain = ? AND tries > 0;

-- name: removals_waiting
SELECT count(*) FROM removals WHERE chain = ?;

-- name: aged_files
-- Those whose removal was tried are among the due ones.
SELECT files.id AS file, coalesce(tries, 0) AS tries, identity, key, path, device, inode, size, mtime_ns
FROM files LEFT JOIN removals ON removals.file = files.id
WHERE files.chain = ? AND path IS NOT NULL AND created < ? AND state NOT IN ('given_up', 'seen')
  AND instr(steps, '["removed"') = 0 AND coalesce(tries, 0) = 0 ORDER BY files.id LIMIT ?;

-- name: row_of_path
SELECT id FROM files WHERE chain = ? AND identity = ? AND path = ? ORDER BY id DESC LIMIT 1;

-- name: add_packed
INSERT OR REPLACE INTO packed (file, path, device, inode, size, mtime_ns) VALUES (?, ?, ?, ?, ?, ?);

-- name: packed_of
SELECT path, device, inode, size, mtime_ns FROM packed WHERE file = ?;

-- name: packed_elsewhere
-- Whether another file, still there and not in the list, was unpacked from the same packed one.
SELECT 1 FROM packed WHERE path = ? AND inode = ? AND mtime_ns = ? AND file NOT IN (SELECT value FROM json_each(?)) LIMIT 1;

-- name: packed_in
SELECT packed.* FROM packed JOIN files ON files.id = packed.file WHERE files.chain = ? ORDER BY packed.file;

-- name: end_packed
DELETE FROM packed WHERE file = ?;

-- name: put_copy
-- Under the name that its section has by now.
INSERT OR REPLACE INTO copies (file, uid, chain, path, device, inode, size, mtime_ns, time)
SELECT column1, column2, coalesce((SELECT chain FROM files WHERE id = column1), column3), column4, column5, column6, column7, column8,
       column9 FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?));

-- name: copies_of
SELECT uid, path, device, inode, size, mtime_ns FROM copies WHERE file = ?;

-- name: aged_copies
-- Those whose removal was tried are among the due ones.
SELECT DISTINCT copies.file AS file, identity, key, files.inode, files.size, files.mtime_ns, coalesce(tries, 0) AS tries
FROM copies JOIN files ON files.id = copies.file LEFT JOIN removals ON removals.file = copies.file
WHERE copies.chain = ? AND copies.time < ? AND coalesce(tries, 0) = 0 ORDER BY copies.file LIMIT ?;

-- name: has_copies
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'copies';

-- name: all_copies
SELECT path, device, inode FROM copies;

-- name: end_copies
DELETE FROM copies WHERE file = ?;

-- name: is_released
-- Whether all consumers of a mirrored file have it, and nothing more is to be done for it than to tell its providers. (What was
-- removed by its age alone nobody may have.)
SELECT 1 FROM files WHERE id = ? AND state IN ('moved', 'acknowledged')
  AND EXISTS (SELECT 1 FROM transfers WHERE transfers.file = files.id
              AND (state = 'acknowledged' OR (state = 'moved' AND consumer_group = '')))
  AND NOT EXISTS (SELECT 1 FROM copies WHERE copies.file = files.id)
  AND NOT EXISTS (SELECT 1 FROM removals WHERE removals.file = files.id AND tries = 0);

-- name: announce_heard
-- A message that was heard is announced: what its (first) file is, and the step.
UPDATE files SET state = 'announced', time = new.column1, identity = new.column2, key = new.column3, size = new.column4,
                 path = new.column5, device = new.column6, inode = new.column7, mtime_ns = new.column8, steps = steps || new.column9
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS new WHERE files.id = new.column10;

-- name: announced_once_more
-- Another message speaks of the same file: it is kept as long as that.
UPDATE files SET time = :now, steps = {kept_steps} || :line WHERE id = :id;

-- name: heard_lately
-- The messages of a section among so many of the newest files, in the order they came.
SELECT message FROM files WHERE id > (SELECT max(id) FROM files) - ? AND chain = ? AND message IS NOT NULL ORDER BY id;

-- name: seen_since
-- What was seen and waits, in the order it came.
SELECT * FROM files WHERE chain = ? AND state = 'seen' AND id > ? ORDER BY id LIMIT ?;

-- name: add_member
INSERT OR REPLACE INTO members (file, number, path, device, inode, size, mtime_ns, relative, copy)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: members_of
SELECT path, device, inode, size, mtime_ns, relative, copy FROM members WHERE file = ? ORDER BY number;

-- name: set_cursor
INSERT INTO cursors (chain, provider, epoch, position) VALUES (?, ?, ?, ?)
ON CONFLICT (chain, provider) DO UPDATE SET epoch = excluded.epoch, position = excluded.position;

-- name: cursor
SELECT epoch, position FROM cursors WHERE chain = ? AND provider = ?;

-- name: cursors_of
SELECT provider FROM cursors WHERE chain = ?;

-- name: remove_cursor
DELETE FROM cursors WHERE chain = ? AND provider = ?;

-- name: raise_alarm
INSERT INTO alarms (chain, kind, about, text, time, latest) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (chain, kind, about) WHERE cleared IS NULL
DO UPDATE SET text = excluded.text, latest = excluded.latest, count = count + 1;

-- name: clear_alarm
UPDATE alarms SET cleared = ?, outcome = ? WHERE chain = ? AND kind = ? AND about = ? AND cleared IS NULL;

-- name: open_alarms
SELECT * FROM alarms WHERE cleared IS NULL ORDER BY id;

-- name: alarms_over
-- The last ones that are over.
SELECT * FROM alarms WHERE cleared IS NOT NULL ORDER BY cleared DESC LIMIT ?;

-- name: alarms_among
SELECT * FROM alarms WHERE cleared IS NULL AND id IN (SELECT value FROM json_each(?));

-- name: alarms_of
-- What alarms of one kind are and were about, and whether they are open.
SELECT about, max(cleared IS NULL) AS is_open FROM alarms WHERE chain = ? AND kind = ? GROUP BY about;

-- name: expectations
SELECT * FROM expectations;

-- name: add_expectation
INSERT OR IGNORE INTO expectations (chain, text, since) VALUES (?, ?, ?);

-- name: end_expectation
DELETE FROM expectations WHERE chain = ? AND text = ?;

-- name: announcements_of_chain
-- A portion of all announcements after a position; the message of one of another chain is left out.
SELECT position, subject, files.chain AS chain, announcements.time AS time, CASE WHEN files.chain = :chain THEN announcements.message END AS message,
       files.chain = :chain AND files.state = 'publishing' AS unpublished
FROM (SELECT * FROM announcements WHERE position > :position ORDER BY position LIMIT :count) AS announcements
LEFT JOIN files ON files.id = announcements.file ORDER BY position;

-- name: announcement_from
SELECT position, time FROM announcements WHERE position >= ? ORDER BY position LIMIT 1;

-- name: forget_alarms
DELETE FROM alarms WHERE cleared < ?;

-- name: open_circuit
INSERT INTO circuits (chain, host, failures, since, latest, error) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (chain, host) DO UPDATE SET failures = excluded.failures, latest = excluded.latest, error = excluded.error;

-- name: close_circuit
DELETE FROM circuits WHERE chain = ? AND host = ?;

-- name: close_circuits
DELETE FROM circuits;

-- name: circuits
SELECT * FROM circuits ORDER BY since;

-- name: hurry_failed
-- What failed at one provider and waits for another try need wait no longer.
UPDATE files SET due = ? WHERE chain = ? AND provider = ? AND due > ? AND state = 'failed';

-- name: add_order
INSERT INTO orders (time, verb, chain, said) VALUES (?, ?, ?, ?);

-- name: orders
SELECT * FROM orders ORDER BY id LIMIT 20;

-- name: orders_but
-- What an operator wants, but for those in a list, which are being carried out.
SELECT * FROM orders WHERE id NOT IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT 20;

-- name: order
SELECT * FROM orders WHERE id = ?;

-- name: amend_order
-- A part of it is done.
UPDATE orders SET said = ? WHERE id = ?;

-- name: end_order
DELETE FROM orders WHERE id = ?;

-- name: given_up_counts
-- Cheap: answered from the index alone.
SELECT chain, count(*) AS count, max(time) AS latest FROM files INDEXED BY files_given_up WHERE state = 'given_up' GROUP BY chain;

-- name: dead_letters
-- How many files of each chain are given up, and never got to anybody.
SELECT chain, count(*) AS count FROM files INDEXED BY files_given_up WHERE {dead_letter} GROUP BY chain;

-- name: dead_letters_of
-- Those of one chain, the last one first.
SELECT * FROM files INDEXED BY files_given_up WHERE {dead_letter} AND chain = ? ORDER BY time DESC LIMIT ?;

-- name: dead_letters_since
-- Those of one chain that were given up after a time, the last one first.
SELECT * FROM files INDEXED BY files_given_up WHERE {dead_letter} AND chain = ? AND time > ? ORDER BY time DESC LIMIT ?;

-- name: waiting_failures
-- What is tried again by itself, and when; where we announce, what a client may ask for again.
SELECT * FROM files WHERE chain = ? AND state = 'failed' AND (due IS NOT NULL OR provider IS NULL) ORDER BY due LIMIT ?;

-- name: wanted
-- What a client is asking for, or waits to ask for.
SELECT * FROM files WHERE chain = ? AND {wanted} ORDER BY id DESC LIMIT ?;

-- name: files_among
SELECT * FROM files WHERE id IN (SELECT value FROM json_each(?));

-- name: revive
-- An operator has a file tried again: at once, and for as long as if it were new.
UPDATE files SET state = 'failed', time = :now, due = :now, attempt = 0, revived = :now, steps = {kept_steps} || :line
WHERE id = :id AND state IN ('given_up', 'failed');

-- name: dismiss
-- An operator knows of a file that was given up, or whose section is configured no more, or whose provider is gone, and wants
-- nothing more of it.
UPDATE files SET state = 'covered', time = :now, due = NULL, steps = {kept_steps} || :line
WHERE id = :id AND (state = 'given_up' OR {wanted} OR (state NOT IN ('published', 'covered') AND chain NOT IN (
    SELECT value FROM json_each((SELECT value FROM meta WHERE name = 'sections')))));

-- name: unfinished_counts
-- How many files of each chain somebody has to go on with.
SELECT chain, count(*) AS count FROM files WHERE {unfinished} GROUP BY chain;

-- name: unfinished_of
-- Those of one chain.
SELECT * FROM files WHERE chain = ? AND {unfinished} LIMIT ?;

-- name: is_unfinished
SELECT 1 FROM files WHERE id = ? AND {unfinished};

-- name: meta
SELECT value FROM meta WHERE name = ?;

-- name: put_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: chains
SELECT DISTINCT chain FROM files;

-- name: counts
SELECT chain, state, count(*) AS count, max(time) AS latest FROM files GROUP BY chain, state;

-- name: had_elsewhere
SELECT chain, count(*) AS count FROM files WHERE {had_elsewhere} GROUP BY chain;

-- name: oldest_waiting
SELECT identity, created, state FROM files
WHERE chain = ? AND state IN ('seen', 'announced', 'requested', 'moving', 'moved', 'publishing', 'failed') AND NOT {had_elsewhere}
ORDER BY created LIMIT 1;

-- name: finished_since
SELECT chain, count(*) AS count FROM files WHERE time > ? AND state IN ('moved', 'acknowledged', 'published') GROUP BY chain;

-- name: last_failure
SELECT identity, state, time, steps FROM files WHERE chain = ? AND state IN ('failed', 'given_up') ORDER BY time DESC LIMIT 1;

-- name: named
SELECT * FROM files WHERE identity = ? OR key = ? ORDER BY id;

-- name: expired_files
-- Finished files that are older than the retention, or more than it allows.
SELECT id, path, device, inode, size, mtime_ns FROM files WHERE chain = ? AND due IS NULL
  AND (state IN ('published', 'covered', 'given_up') OR (path IS NOT NULL AND state NOT IN ('moving', 'requested')))
  AND (time < ? OR id <= (SELECT id FROM files WHERE chain = ? ORDER BY id DESC LIMIT 1 OFFSET ?))
  AND NOT EXISTS (SELECT 1 FROM copies WHERE copies.file = files.id)
ORDER BY id LIMIT ?;

-- name: kept_files
-- Expired files that were still at the origin when we looked last, and when to look again has come.
SELECT id, path, device, inode, size, mtime_ns FROM files
WHERE chain = ? AND provider IS NULL AND due IS NOT NULL AND due <= ? AND path IS NOT NULL LIMIT ?;

-- name: keep_file
-- Expired, but still at the origin: it must stay known, or it would be announced again. Only what tells it apart is kept; it waits
-- for no host any more. Of one that was delivered and waits for confirmations all is kept.
UPDATE files SET steps = CASE WHEN {is_waited_for} THEN steps ELSE '' END, due = ?, provider = NULL WHERE id = ?;

-- name: remove_announcements_of
-- One list of ids in JSON: the table is gone through once for all of them.
DELETE FROM announcements WHERE file IN (SELECT value FROM json_each(?))
  AND NOT EXISTS (SELECT 1 FROM files WHERE files.id = announcements.file AND {is_waited_for});

-- name: remove_announcement
DELETE FROM announcements WHERE position = ?;

-- name: bound_failures
-- Of the moves of a file that failed the last hundred are kept: who asks chooses the destination, and may choose ever another one.
DELETE FROM transfers WHERE file = ? AND state IN ('failed', 'given_up') AND transfer NOT IN (
    SELECT transfer FROM transfers AS kept WHERE kept.file = ? AND kept.state IN ('failed', 'given_up')
    ORDER BY kept.time DESC LIMIT 100);

-- name: remove_transfers_of
DELETE FROM transfers WHERE file = ? AND NOT EXISTS (SELECT 1 FROM files WHERE files.id = transfers.file AND {is_waited_for});

-- name: remove_file
DELETE FROM files WHERE id = ?;

-- name: unpublished
-- Publications that are in the journal and were perhaps not sent; of those that are `held` that is certain.
SELECT position, subject, held, announcements.file AS file, announcements.message AS message, files.message AS announcement,
       identity, created, attempt, request
FROM announcements JOIN files ON files.id = announcements.file
WHERE files.chain = ? AND files.state = 'publishing' AND position > ? ORDER BY position LIMIT ?;

-- name: published_since
SELECT request, message, time FROM files WHERE chain = ? AND state = 'published' AND time >= ? AND request IS NOT NULL;

-- name: untold_providers
-- Who announced what we have (`had`) since a time, beside the one that was asked; and the first file of each. Goes through
-- what others announced alone, which mostly is nothing.
SELECT sources.provider AS provider, min(sources.file) AS file FROM sources CROSS JOIN files ON files.id = sources.file
WHERE chain = ? AND files.time >= ? AND files.provider <> sources.provider AND {had} GROUP BY sources.provider;

-- name: untold
-- The same of one provider, from a file on.
SELECT sources.file AS file, files.key AS key, files.steps AS steps, sources.message AS message FROM sources CROSS JOIN files ON files.id = sources.file
WHERE sources.file >= ? AND sources.provider = ? AND chain = ? AND files.time >= ? AND files.provider <> sources.provider AND {had}
ORDER BY sources.file LIMIT ?;

-- name: files_with_names
-- What is known, in any chain, of files with the names in a list; and whether their origin is waiting to be removed.
SELECT id, chain, identity, state, path, inode, size, mtime_ns,
       EXISTS (SELECT 1 FROM removals WHERE removals.file = files.id) AS removal
FROM files WHERE identity IN (SELECT value FROM json_each(?));

-- name: unfinished_sets
-- What is under way and is not known by the name of one file.
SELECT id, chain, state, path, message, EXISTS (SELECT 1 FROM removals WHERE removals.file = files.id) AS removal
FROM files WHERE state NOT IN ('published', 'covered', 'given_up')
  AND (identity LIKE 'md5:%' OR instr(identity, '/') > 0 OR instr(message, '/' || identity || '"') = 0);

-- name: unpacked_from
-- The files that came out of a packed one.
SELECT files.id, chain, state, files.path, EXISTS (SELECT 1 FROM removals WHERE removals.file = files.id) AS removal
FROM packed JOIN files ON files.id = packed.file WHERE packed.path = ?;

-- name: all_consumers
-- Of every chain the primaries of our kind that were served since a time, and the first file each of them got; of one whose moves
-- are forgotten the last.
SELECT chain, client, consumer_group, min(file) AS first FROM transfers
WHERE consumer_group <> '' AND NOT spare AND state IN ('moved', 'acknowledged')
GROUP BY chain, client, consumer_group HAVING max(time) > ?1
UNION SELECT chain, client, consumer_group, file FROM consumers WHERE time > ?1 AND NOT EXISTS (
    SELECT 1 FROM transfers WHERE transfers.chain = consumers.chain AND transfers.client = consumers.client
    AND transfers.consumer_group = consumers.consumer_group AND transfers.state IN ('moved', 'acknowledged'));
