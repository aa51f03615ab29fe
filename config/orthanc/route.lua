-- Routes dermoscopy from Orthanc to DermaNode: each series when Orthanc calls it stable, over one association.
--
-- In Orthanc's configuration (see docker/orthanc/orthanc.json):
--   "LuaScripts": [".../route.lua"],
--   "DicomModalities": { "dermanode": { "AET": "DERMANODE", "Host": "node.example.org", "Port": 11112, "AllowStorageCommitment": true } }
-- In the node's: an entry for Orthanc's AE title and address under `receive.allow`.
--
-- A series that could not be sent is sent again when the next one becomes stable, or when another one has arrived. What waits is
-- forgotten when Orthanc is restarted: `route.py` in this folder keeps it, and tries again by the clock. Or leave both away and let the
-- node watch Orthanc (`orthanc:` in its settings).

local NODE = 'dermanode'        -- its name under "DicomModalities"
local NODE_AET = 'DERMANODE'    -- the AE title under which it sends its results here
local COMMITMENT = false        -- true: the node is asked to promise to keep what it got; see /storage-commitment/ for its answer
local MOST_TRIES = 10

-- What is routed: images of these modalities or SOP classes.
local MODALITIES = { DMS = true, XC = true }  -- Dermoscopy; External-camera Photography
local CLASSES = {
  ['1.2.840.10008.5.1.4.1.1.77.1.7'] = true,  -- Dermoscopic Photography Image Storage
  ['1.2.840.10008.5.1.4.1.1.77.1.4'] = true,  -- VL Photographic Image Storage
}

local jobs = {}     -- the series that a job sends, by the job's id
local waiting = {}  -- the series that are to be sent again
local tries = {}    -- how often a series was tried

-- The node's own results come back here. Sent to it again, they would go round for ever.
local function isResult(tags, instances)
  if tags['Manufacturer'] == 'DermaNode' then  -- so are photographs that `dermanode import` made, of another model
    local model = RestApiGet('/instances/' .. instances[1] .. '/content/0008-1090') or ''
    if string.match(model, '^%s*(.-)[%s%z]*$') == 'DermaNode' then
      return true
    end
  end
  for _, instance in ipairs(instances) do
    if RestApiGet('/instances/' .. instance .. '/metadata/RemoteAET') == NODE_AET then
      return true
    end
  end
  return false
end

local function send(seriesId)
  -- SendToModality() takes no series, and would keep Orthanc waiting: a job does not.
  local order = { Resources = { seriesId }, Synchronous = false, StorageCommitment = COMMITMENT }
  local job = ParseJson(RestApiPost('/modalities/' .. NODE .. '/store', DumpJson(order, true)))
  if job == nil or job['ID'] == nil then
    PrintRecursive('route.lua: the modality ' .. NODE .. ' is not configured')
    return
  end
  tries[seriesId] = (tries[seriesId] or 0) + 1
  jobs[job['ID']] = seriesId
end

local function sendWaiting()
  local again = waiting
  waiting = {}
  for seriesId, _ in pairs(again) do
    send(seriesId)
  end
end

function OnStableSeries(seriesId, tags, metadata)
  local instances = ParseJson(RestApiGet('/series/' .. seriesId))['Instances']
  local class = RestApiGet('/instances/' .. instances[1] .. '/metadata/SopClassUid')
  if (MODALITIES[tags['Modality']] or CLASSES[class]) and not isResult(tags, instances) then
    waiting[seriesId] = true
    tries[seriesId] = 0
    sendWaiting()
  end
end

function OnJobSuccess(jobId)
  local seriesId = jobs[jobId]
  if seriesId ~= nil then
    jobs[jobId] = nil
    tries[seriesId] = nil
    sendWaiting()  -- the node is there again
  end
end

function OnJobFailure(jobId)
  local seriesId = jobs[jobId]
  if seriesId ~= nil then
    jobs[jobId] = nil
    if (tries[seriesId] or 0) < MOST_TRIES then
      waiting[seriesId] = true
    else
      print('route.lua: series ' .. seriesId .. ' was tried ' .. MOST_TRIES .. ' times and is given up')
    end
  end
end
